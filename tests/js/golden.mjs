// The hashes of tests/c/golden.c through the JavaScript API, in Node and in browsers: the CRC-32C of all outputs of
// calls with 1, 2, 4, ... 16 time steps from the initial state, and of the same input in single steps.

const MAX_TIME = 16;

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    return crc;
});

function crc32c(crc, view) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    let c = ~crc;
    for (const byte of bytes) c = TABLE[(c ^ byte) & 255] ^ (c >>> 8);
    return ~c >>> 0;
}

const elements = (info) => info.shape.reduce((n, dim) => n * (typeof dim === "number" ? dim : 1), 1);

/** Inputs of MAX_TIME steps at batch 1, from the same generator as golden.c's. */
export function makeInputs(model) {
    let seed = 12345;
    return model.inputs.map((info) => {
        const int32 = info.dtype === "int32";
        const values = new (int32 ? Int32Array : Float32Array)(elements(info) * MAX_TIME);
        for (let i = 0; i < values.length; i++) {
            seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
            values[i] = int32 ? seed >>> 30 : ((seed >>> 8) - (1 << 23)) / (1 << 22);
        }
        return values;
    });
}

/** [hash of whole calls, hash of single steps or "-"] as golden.c prints them. */
export function hashes(model) {
    const inputs = makeInputs(model);
    const sizes = model.inputs.map(elements);
    const all = (from, to) => inputs.map((values, i) => values.subarray(sizes[i] * from, sizes[i] * to));
    let whole = 0;
    let steps = 0;
    const stream = model.streamable ? model.stream() : undefined;
    for (let time = 1; time <= MAX_TIME; time *= 2) {
        for (const output of model.run(...all(0, time))) whole = crc32c(whole, output);
        if (!stream) continue;
        stream.reset();
        const stepped = model.outputs.map(() => []);
        for (let t = 0; t < time; t++) {
            stream.step(...all(t, t + 1));
            stepped.forEach((list, i) => list.push(stream.output(i).slice()));
        }
        for (const list of stepped) for (const frame of list) steps = crc32c(steps, frame);
    }
    stream?.dispose();
    const hex = (crc) => crc.toString(16).padStart(8, "0");
    return [hex(whole), stream ? hex(steps) : "-"];
}
