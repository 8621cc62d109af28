// What rnnrt.js promises, under Node: RNNRT_JS=folder of the package, MODELS=folder of models that the tests make,
// node --expose-gc --test api.test.mjs. Each test is one of tests/test_js.py.
import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import process from "node:process";
import test from "node:test";
import { pathToFileURL } from "node:url";

import { hashes, makeInputs } from "./golden.mjs";

const PACKAGE = pathToFileURL(`${process.env.RNNRT_JS}/`);
const GOLDEN = new URL("../golden/", import.meta.url);
const { RnnrtError, Runtime, compile, load } = await import(new URL("rnnrt.js", PACKAGE));
const module = await compile();

const bytes = (name) => readFile(new URL(`${name}.rnnrt`, GOLDEN));
const golden = async (name, runtime = new Runtime(module)) => runtime.model(await bytes(name));
const made = async (name) => new Runtime(module).model(await readFile(`${process.env.MODELS}/${name}.rnnrt`));
const denoiser = () => golden("denoiser_s8");
const frame = (seed) => Float32Array.from({ length: 64 }, (_, i) => Math.fround(Math.sin(seed * 64 + i)));
const refuses = (call, status, text) =>
    assert.throws(call, (error) => {
        assert.ok(error instanceof RnnrtError && error instanceof Error, error);
        assert.equal(error.status, status);
        assert.match(error.message, text);
        return true;
    });

test("golden models give the golden bits on every instruction set", async () => {
    const expected = JSON.parse(await readFile(new URL("hashes.json", GOLDEN), "utf8"));
    const runtime = new Runtime(module);
    for (const [name, hash] of Object.entries(expected)) {
        for (const isa of ["wasm", "scalar"]) {
            const model = runtime.model(await bytes(name), { isa });
            assert.equal(model.isa, isa);
            assert.deepEqual(hashes(model), hash, `${name} ${isa}`);
            model.dispose();
        }
    }
    const files = (await readdir(GOLDEN)).filter((name) => name.endsWith(".rnnrt"));
    assert.equal(files.length, Object.keys(expected).length);
});

test("the module imports nothing and shows what rnnrt.h declares", async () => {
    assert.deepEqual(WebAssembly.Module.imports(module), []);
    const header = await readFile(new URL("../../src_c/include/rnnrt.h", import.meta.url), "utf8");
    const declared = [...header.matchAll(/^(?!typedef)\w.*?\b\*?(rnnrt_\w+)\(/gm)].map((match) => match[1]);
    const names = WebAssembly.Module.exports(module).map(({ name }) => name);
    const shown = names.filter((name) => name.startsWith("rnnrt_"));
    assert.ok(declared.length > 25);
    assert.deepEqual(shown.sort(), declared.sort());
});

test("a model tells what it is", async () => {
    const model = await golden("keyword_s8");
    assert.deepEqual(model.inputs, [{ name: "x", shape: ["time", "batch", 40], dtype: "float32" }]);
    assert.deepEqual(model.outputs, [{ name: "z", shape: ["time", "batch", 12], dtype: "float32" }]);
    const states = model.states.map(({ name, shape }) => [name, shape]);
    assert.deepEqual(states, [["h", [1, "batch", 64]], ["c", [1, "batch", 64]]]);
    assert.deepEqual([model.streamable, model.hasTime, model.isa, model.meta], [true, true, "wasm", {}]);
    assert.equal((await golden("choices_f32")).outputs[1].dtype, "int32");
});

test("loads by path, URL and bytes; the error names the file", async () => {
    const url = new URL("gru_s8.rnnrt", GOLDEN);
    const blob = await readFile(url);
    const wanted = hashes(await load(url));
    const { buffer } = new Uint8Array(blob);
    for (const source of [url.pathname, url.href, blob, buffer, new DataView(buffer)]) {
        assert.deepEqual(hashes(await load(source)), wanted);
    }
    assert.deepEqual(hashes(await load(`data:application/octet-stream;base64,${blob.toString("base64")}`)), wanted);
    const own = new Runtime(await compile(await readFile(new URL("rnnrt.wasm", PACKAGE))));
    assert.deepEqual(hashes(await load(url, { runtime: own, isa: "scalar" })), wanted);
    const text = new URL("hashes.json", GOLDEN).pathname;
    await assert.rejects(load(text), (error) => error instanceof RnnrtError && error.message.startsWith(`${text}: `));
    await assert.rejects(load(new URL("nothing.rnnrt", GOLDEN)), { code: "ENOENT" });
    await assert.rejects(load(42), TypeError);
});

test("run over many steps, over chunks and single steps give the same bits", async () => {
    const model = await denoiser();
    const time = 100; // several chunks of Model.run
    const x = Float32Array.from({ length: time * 64 }, (_, i) => Math.sin(i * i));
    const [whole] = model.run(x);
    const stream = model.stream();
    const chunked = model.stream({ maxTime: 7 });
    const single = new Float32Array(whole.length);
    const chunks = new Float32Array(whole.length);
    for (let t = 0; t < time; t++) single.set(stream.step(x.subarray(t * 64, t * 64 + 64)), t * 64);
    for (let t = 0; t < time; t += 7) {
        const n = Math.min(7, time - t);
        chunked.input(0).set(x.subarray(t * 64, (t + n) * 64));
        const y = chunked.run(n);
        assert.equal(y.length, n * 64);
        chunks.set(y, t * 64);
    }
    assert.deepEqual(single, whole);
    assert.deepEqual(chunks, whole);
    assert.deepEqual(model.run(Array.from(x))[0], whole);
    assert.ok(whole.some((value) => value !== 0));
});

test("frames are written and read in place", async () => {
    const model = await denoiser();
    const [stream, copied] = [model.stream(), model.stream()];
    const x = stream.input("x");
    const y = stream.output("z");
    assert.equal(x, stream.input(0));
    assert.equal(y, stream.output(0));
    for (let t = 0; t < 3; t++) {
        x.set(frame(t));
        assert.equal(stream.step().buffer, y.buffer);
        assert.deepEqual(y, copied.step(frame(t)).slice());
    }
});

test("no time steps: nothing happens", async () => {
    const model = await denoiser();
    assert.deepEqual(model.run(new Float32Array(0)), [new Float32Array(0)]);
    const [stream, other] = [model.stream({ maxTime: 2 }), model.stream()];
    stream.step(frame(1));
    assert.equal(stream.run(0).length, 0);
    other.step(frame(1));
    assert.deepEqual(stream.getState("h"), other.getState("h"));
});

test("a batch advances together, each signal with the bits it gets alone", async () => {
    const model = await denoiser();
    const both = model.stream({ batch: 2, maxTime: 3 });
    const alone = [model.stream(), model.stream()];
    assert.equal(both.input(0).length, 3 * 2 * 64);
    for (let t = 0; t < 3; t++) for (let b = 0; b < 2; b++) both.input(0).set(frame(10 * b + t), (2 * t + b) * 64);
    const y = both.run(3);
    for (let t = 0; t < 3; t++) {
        for (let b = 0; b < 2; b++) {
            const at = (2 * t + b) * 64;
            assert.deepEqual(y.slice(at, at + 64), alone[b].step(frame(10 * b + t)).slice());
        }
    }
    assert.equal(both.getState(0).length, 2 * 64);
});

test("a state moves to another stream; reset goes back to the first", async () => {
    const model = await golden("keyword_s8");
    const x = makeInputs(model)[0];
    const [a, b] = [model.stream(), model.stream()];
    const first = a.step(x.subarray(0, 40)).slice();
    for (const { name } of model.states) b.setState(name, a.getState(name));
    const second = a.step(x.subarray(40, 80)).slice();
    assert.deepEqual(b.step(x.subarray(40, 80)).slice(), second);
    a.reset();
    assert.deepEqual(a.step(x.subarray(0, 40)).slice(), first);
    assert.notDeepEqual(first, second);
    assert.throws(() => a.setState(0, new Float32Array(63)), RangeError);
    assert.throws(() => a.getState("nothing"), /'h', 'c'/);
});

test("several inputs: by number, by name, of both types, in place or given", async () => {
    const model = await made("two_inputs"); // y = x + table[i], table = [[1, 2], [10, 20]]; x [time, 2], i [time] int32
    assert.deepEqual(model.inputs.map(({ name, dtype }) => [name, dtype]), [["x", "float32"], ["i", "int32"]]);
    assert.deepEqual(model.run([1, 2, 3, 4], [0, 1])[0], Float32Array.of(2, 4, 13, 24));
    const stream = model.stream();
    assert.deepEqual(Array.from(stream.step(Float32Array.of(5, 6), Int32Array.of(1))), [15, 26]);
    stream.input("i")[0] = 0;
    assert.deepEqual(Array.from(stream.step([7, 8])), [8, 10]);
    assert.throws(() => stream.step([1, 2], Float32Array.of(1)), /'i': got Float32Array, expected Int32Array/);
    assert.throws(() => model.run([1, 2, 3, 4], [0]), /'i': got 1 values, expected 2 \(\[time\]\)/);
    assert.throws(() => model.run([1, 2]), TypeError);
});

test("time may be an inner axis", async () => {
    const model = await made("time_last"); // y = 2 x, x [1, 3, time]: chunks of it are not contiguous
    const x = Float32Array.from({ length: 3 * 50 }, (_, i) => i);
    assert.deepEqual(model.run(x)[0], x.map((value) => 2 * value));
});

test("wrong arguments are refused and change nothing", async () => {
    const model = await denoiser();
    const [stream, other] = [model.stream({ maxTime: 2 }), model.stream()];
    stream.step(frame(0));
    other.step(frame(0));
    assert.throws(() => stream.step(new Float32Array(63)), /'x': got 63 values, expected 64 \(\[time, batch, 64\]\)/);
    assert.throws(() => stream.step(new Float64Array(64)), /got Float64Array, expected Float32Array/);
    assert.throws(() => stream.step(frame(0), frame(0)), /got 2 inputs, expected 1/);
    assert.throws(() => stream.step(null), RangeError);
    for (const time of [3, -1, 0.5, NaN]) assert.throws(() => stream.run(time), /time: got .*, expected 0 to 2/);
    for (const which of [1, -1, 0.5, "y", undefined]) {
        assert.throws(() => stream.input(which), RangeError);
        assert.throws(() => stream.output(which), RangeError);
    }
    assert.throws(() => model.run(new Float32Array(65)), /got 65 values, expected 64/);
    assert.throws(() => model.run(), /got 0 inputs, expected 1/);
    for (const n of [0, -1, 1.5, NaN, 2 ** 31]) {
        assert.throws(() => model.stream({ maxTime: n }), /maxTime: got/);
        assert.throws(() => model.stream({ batch: n }), /batch: got/);
    }
    const fixed = await golden("layers_f32");
    assert.throws(() => fixed.stream({ batch: 2 }), /the model fixes it/);
    assert.deepEqual(stream.step(frame(1)).slice(), other.step(frame(1)).slice());
});

test("the library's refusals are errors with its text, and leave nothing behind", async () => {
    const runtime = new Runtime(module);
    const good = await bytes("denoiser_s8");
    const before = () => runtime.model(good).dispose();
    before();
    const memory = runtime.memoryBytes;
    const damaged = Uint8Array.from(good);
    damaged[20000] ^= 1;
    for (let i = 0; i < 200; i++) {
        refuses(() => runtime.model(damaged), 7, /checksum/);
        refuses(() => runtime.model(good.subarray(0, 20000)), 3, /./);
        refuses(() => runtime.model(new Uint8Array(100)), 4, /./);
        refuses(() => runtime.model(new Uint8Array(0)), 3, /./);
        refuses(() => runtime.model(good, { isa: "avx2" }), 12, /./);
        refuses(() => runtime.model(good, { isa: "s".repeat(1000) }), 12, /./);
    }
    assert.equal(runtime.memoryBytes, memory);
    assert.throws(() => runtime.model("text"), TypeError);
    const model = runtime.model(good);
    refuses(() => model.stream({ maxTime: 2 ** 24, batch: 2 ** 24 }), 11, /./);
    const streams = [];
    const fill = () => { while (streams.length < 100) streams.push(model.stream({ maxTime: 2 ** 19 })); };
    refuses(fill, 2, /no \d+ bytes of memory/);
    assert.ok(streams.length > 0);
    for (const stream of streams.splice(0)) stream.dispose();
    model.stream({ maxTime: 2 ** 19 }).dispose();
    const future = await golden("rnn_bidirectional_s8", runtime);
    refuses(() => future.stream(), 14, /looks into the future; run\(\) takes whole sequences/);
    assert.equal(future.run(new Float32Array(9 * 40))[0].length, 2 * 20 * 40);
});

test("what has been disposed is refused, and streams outlive their model", async () => {
    const model = await denoiser();
    const [stream, other] = [model.stream(), model.stream()];
    model.dispose();
    model.dispose();
    for (const call of [() => model.stream(), () => model.run(frame(0)), () => model.meta]) {
        refuses(call, 0, /model is disposed/);
    }
    stream.step(frame(0));
    other.dispose();
    other.dispose();
    for (const call of [
        () => other.step(frame(0)), () => other.run(1), () => other.reset(), () => other.input(0), () => other.output(0),
        () => other.getState(0), () => other.setState(0, frame(0)),
    ]) refuses(call, 0, /stream is disposed/);
    assert.ok(stream.step(frame(1)).some((value) => value !== 0));
});

test("views end with the memory they are of, streams do not", async () => {
    const runtime = new Runtime(module);
    const model = await golden("denoiser_s8", runtime);
    const [stream, other] = [model.stream(), (await denoiser()).stream()];
    stream.step(frame(0));
    const [x, y] = [stream.input(0), stream.output(0)];
    const seen = y.slice();
    const memory = runtime.memoryBytes;
    model.stream({ maxTime: 10000 });
    assert.ok(runtime.memoryBytes > memory);
    assert.equal(x.length, 0);
    assert.equal(y.length, 0);
    assert.deepEqual(stream.output(0).slice(), seen);
    assert.deepEqual(stream.input(0).slice(), frame(0));
    other.step(frame(0));
    assert.deepEqual(stream.step(frame(1)).slice(), other.step(frame(1)).slice());
});

test("100000 steps take no memory", async () => {
    const runtime = new Runtime(module);
    const stream = (await golden("denoiser_s8", runtime)).stream();
    const x = frame(0);
    for (let i = 0; i < 1000; i++) stream.step(x);
    globalThis.gc();
    const [heap, memory] = [process.memoryUsage().heapUsed, runtime.memoryBytes];
    for (let i = 0; i < 1e5; i++) stream.step(x);
    globalThis.gc();
    assert.equal(runtime.memoryBytes, memory);
    assert.ok(process.memoryUsage().heapUsed - heap < 1e5, "less than a byte a step");
});

test("memory comes back from what is disposed and from what is forgotten", async () => {
    const runtime = new Runtime(module);
    const blob = await bytes("denoiser_s8");
    const use = () => {
        const model = runtime.model(blob);
        const stream = model.stream({ maxTime: 100 });
        stream.step(frame(0));
        return [model, stream];
    };
    for (const thing of use()) thing.dispose();
    const memory = runtime.memoryBytes;
    for (let i = 0; i < 500; i++) for (const thing of use()) thing.dispose();
    assert.equal(runtime.memoryBytes, memory);
    for (let i = 0; i < 50; i++) {
        for (let j = 0; j < 10; j++) use();
        globalThis.gc();
        await new Promise((resolve) => setTimeout(resolve)); // finalizers run between tasks
    }
    assert.ok(runtime.memoryBytes < 10 * memory, "10 pairs fit; all 500 would take 180 times as much");
});
