// rnnrt in JavaScript: models and streams over the C library compiled to WebAssembly (rnnrt.wasm, beside this file).
// Runs in browsers, workers, audio worklets and Node. rnnrt.d.ts is the manual.

/** @typedef {import("./rnnrt.js").Values} Values */
/** @typedef {import("./rnnrt.js").Numbers} Numbers */
/** @typedef {import("./rnnrt.js").TensorInfo} TensorInfo */

/**
 * An input or output of a stream.
 * @typedef {object} Port
 * @property {TensorInfo} info
 * @property {boolean} timed A frame per time step follows another; else one array for the whole call.
 * @property {number} frame Elements of one time step.
 * @property {number} at Address.
 */

/**
 * The functions of rnnrt.h as the engine shows them: pointers, sizes and statuses are numbers.
 * @typedef {{ [name: string]: (...args: number[]) => number }} Library
 */

const ABI = 1;
const PAGE = 64; // what a blob must be aligned to; also the size of the room for results
const INFO_NAME = 0, INFO_DIMS = 1, INFO_NDIM = 7, INFO_DTYPE = 8; // 32-bit words of rnnrt_info
const DIMS = new Map([[-2, /** @type {const} */ ("time")], [-3, /** @type {const} */ ("batch")]]);
const I32 = 3; // rnnrt_dtype
const ERR_MEMORY = 2, ERR_NOT_STREAMABLE = 14; // rnnrt_status
const CHUNK = 32; // time steps per call for whole sequences: layers outside the recurrence share weights among them
const MAX_BYTES = 2 ** 32 - 2 ** 16;

export class RnnrtError extends Error {
    /**
     * @param {number} status
     * @param {string} message
     */
    constructor(status, message) {
        super(message);
        this.name = "RnnrtError";
        this.status = status;
    }
}

/** The library's memory and functions. */
class Heap {
    /** @param {WebAssembly.Module} module */
    constructor(module) {
        const exports = new WebAssembly.Instance(module, {}).exports;
        this.c = /** @type {Library} */ (/** @type {unknown} */ (exports));
        this.memory = /** @type {WebAssembly.Memory} */ (exports.memory);
        if (this.c.rnnrt_abi_version() !== ABI) throw new Error("rnnrt.wasm and rnnrt.js are of different versions");
        this.room = this.take(PAGE); // where C functions put results
    }

    /**
     * Memory, aligned for a blob.
     * @param {number} bytes
     */
    take(bytes) {
        const pointer = bytes < MAX_BYTES ? this.c.aligned_alloc(PAGE, Math.ceil((bytes + 1) / PAGE) * PAGE) >>> 0 : 0;
        if (pointer === 0) throw new RnnrtError(ERR_MEMORY, `no ${bytes} bytes of memory`);
        return pointer;
    }

    /** @param {number} at */
    word(at) {
        return new DataView(this.memory.buffer).getUint32(at, true);
    }

    /**
     * UTF-8. Audio worklets have no TextDecoder.
     * @param {number} at
     * @param {number} [bytes] Default: up to a NUL.
     */
    text(at, bytes) {
        const all = new Uint8Array(this.memory.buffer);
        const part = all.subarray(at, bytes === undefined ? all.indexOf(0, at) : at + bytes);
        const escaped = Array.from(part, (byte) => "%" + byte.toString(16).padStart(2, "0"));
        return decodeURIComponent(escaped.join(""));
    }

    /** @param {number} status */
    check(status) {
        if (status !== 0) throw new RnnrtError(status, this.text(this.c.rnnrt_strerror(status) >>> 0));
    }

    /**
     * @param {"input" | "output" | "state"} kind
     * @param {number} model
     * @param {number} i
     * @returns {TensorInfo}
     */
    info(kind, model, i) {
        this.check(this.c[`rnnrt_model_${kind}`](model, i, this.room));
        const words = new Int32Array(this.memory.buffer, this.room, PAGE / 4);
        const dims = words.subarray(INFO_DIMS, INFO_DIMS + words[INFO_NDIM]);
        return Object.freeze({
            name: this.text(words[INFO_NAME] >>> 0),
            shape: Object.freeze(Array.from(dims, (dim) => DIMS.get(dim) ?? dim)),
            dtype: words[INFO_DTYPE] === I32 ? "int32" : "float32",
        });
    }

    /**
     * @param {"input" | "output" | "state"} kind
     * @param {number} model
     */
    infos(kind, model) {
        const length = this.c[`rnnrt_model_${kind}s`](model);
        return Object.freeze(Array.from({ length }, (_, i) => this.info(kind, model, i)));
    }

    /**
     * @param {TensorInfo} info
     * @param {number} at
     * @param {number} length
     * @returns {Values}
     */
    view(info, at, length) {
        const Type = info.dtype === "int32" ? Int32Array : Float32Array;
        return new Type(this.memory.buffer, at, length);
    }
}

/** Memory on the heap that goes when its last user has let go. */
class Owned {
    /**
     * @param {Heap} heap
     * @param {Owned} [parent] Kept for as long.
     */
    constructor(heap, parent) {
        this.heap = heap;
        this.parent = parent;
        /** @type {number[]} */
        this.pointers = [];
        this.users = 1;
        parent?.retain();
    }

    /** @param {number} bytes */
    take(bytes) {
        const pointer = this.heap.take(bytes);
        this.pointers.push(pointer);
        return pointer;
    }

    retain() {
        this.users++;
    }

    release() {
        this.users--;
        if (this.users > 0) return;
        for (const pointer of this.pointers) this.heap.c.free(pointer);
        this.parent?.release();
    }
}

/** Who drops a model or stream without dispose() gets its memory back when the garbage is collected. */
const forgotten = new FinalizationRegistry((/** @type {Owned} */ owned) => owned.release());

/**
 * Elements of one time step.
 * @param {TensorInfo} info
 * @param {number} batch
 */
function frameElements(info, batch) {
    const lengths = info.shape.map((dim) => (dim === "time" ? 1 : dim === "batch" ? batch : dim));
    return lengths.reduce((product, length) => product * length, 1);
}

/**
 * @param {TensorInfo} info
 * @param {Numbers} values
 * @param {number} expected
 */
function checkValues(info, values, expected) {
    const wanted = info.dtype === "int32" ? "Int32Array" : "Float32Array";
    if (ArrayBuffer.isView(values) && values.constructor.name !== wanted) {
        throw new TypeError(`'${info.name}': got ${values.constructor.name}, expected ${wanted}`);
    }
    if (values?.length !== expected) {
        const shape = info.shape.join(", ");
        throw new RangeError(`'${info.name}': got ${values?.length} values, expected ${expected} ([${shape}])`);
    }
}

/**
 * @param {string} name
 * @param {number} value
 */
function checkCount(name, value) {
    if (!Number.isInteger(value) || value < 1 || value >= 2 ** 31) {
        throw new RangeError(`${name}: got ${value}, expected 1 to ${2 ** 31 - 1}`);
    }
}

export class Runtime {
    #heap;

    /** @param {WebAssembly.Module} module */
    constructor(module) {
        this.#heap = new Heap(module);
    }

    /**
     * @param {ArrayBuffer | ArrayBufferView} bytes
     * @param {{ readonly isa?: string }} options
     */
    model(bytes, options = {}) {
        return new Model(this.#heap, asBytes(bytes), options.isa);
    }

    get memoryBytes() {
        return this.#heap.memory.buffer.byteLength;
    }
}

class Model {
    #heap;
    #owned;
    #model = 0;
    #disposed = false;

    /**
     * @param {Heap} heap
     * @param {Uint8Array} bytes
     * @param {string} [isa]
     */
    constructor(heap, bytes, isa) {
        const { c, room } = heap;
        this.#heap = heap;
        this.#owned = new Owned(heap);
        try {
            const blob = this.#owned.take(bytes.length);
            new Uint8Array(heap.memory.buffer).set(bytes, blob);
            heap.check(c.rnnrt_model_size(blob, bytes.length, room));
            const size = heap.word(room);
            const memory = this.#owned.take(size);
            heap.check(c.rnnrt_model_init(memory, size, blob, bytes.length, room));
            this.#model = heap.word(room);
            if (isa !== undefined) {
                const letters = Array.from(`${isa}`.slice(0, PAGE - 1), (letter) => letter.charCodeAt(0));
                new Uint8Array(heap.memory.buffer, room, PAGE).fill(0).set(letters);
                heap.check(c.rnnrt_model_use_isa(this.#model, room));
            }
            this.inputs = heap.infos("input", this.#model);
            this.outputs = heap.infos("output", this.#model);
            this.states = heap.infos("state", this.#model);
        } catch (error) {
            this.#owned.release();
            throw error;
        }
        this.streamable = c.rnnrt_model_streamable(this.#model) !== 0;
        this.hasTime = c.rnnrt_model_has_time(this.#model) !== 0;
        this.isa = heap.text(c.rnnrt_model_isa(this.#model) >>> 0);
        forgotten.register(this, this.#owned, this);
    }

    /** @returns {Record<string, unknown>} */
    get meta() {
        this.#alive();
        const at = this.#heap.c.rnnrt_model_meta(this.#model, this.#heap.room) >>> 0;
        return JSON.parse(this.#heap.text(at, this.#heap.word(this.#heap.room)) || "{}");
    }

    /** @param {{ readonly maxTime?: number, readonly batch?: number }} options */
    stream(options = {}) {
        this.#alive();
        if (!this.streamable) {
            const reason = this.meta.not_streamable_because ?? "it looks into the future";
            const message = `this model can't be streamed: ${reason}; run() takes whole sequences`;
            throw new RnnrtError(ERR_NOT_STREAMABLE, message);
        }
        return this.#state(options.maxTime ?? 1, options.batch ?? 1);
    }

    /** @param {...Numbers} inputs */
    run(...inputs) {
        this.#alive();
        const time = this.#timeOf(inputs);
        const contiguous = [...this.inputs, ...this.outputs].every(({ shape }) =>
            shape.slice(0, Math.max(0, shape.indexOf("time"))).every((dim) => dim === 1 || dim === "batch"));
        const chunk = Math.max(1, this.streamable && contiguous ? Math.min(time, CHUNK) : time);
        const stream = this.#state(chunk, 1);
        try {
            return stream.sequence(inputs, time, chunk);
        } finally {
            stream.dispose();
        }
    }

    dispose() {
        if (this.#disposed) return;
        this.#disposed = true;
        forgotten.unregister(this);
        this.#owned.release();
    }

    /**
     * @param {number} maxTime
     * @param {number} batch
     */
    #state(maxTime, batch) {
        checkCount("maxTime", maxTime);
        checkCount("batch", batch);
        if (batch !== 1 && !this.inputs.some(({ shape }) => shape.includes("batch"))) {
            throw new RangeError(`batch: got ${batch}, expected 1: the model fixes it`);
        }
        return new Stream(this, this.#owned, this.#model, maxTime, batch);
    }

    /**
     * Time steps in arrays for the inputs.
     * @param {Numbers[]} inputs
     */
    #timeOf(inputs) {
        if (inputs.length !== this.inputs.length) {
            throw new TypeError(`got ${inputs.length} inputs, expected ${this.inputs.length}`);
        }
        const timed = (/** @type {TensorInfo} */ info) => !this.hasTime || info.shape.includes("time");
        const first = this.inputs.findIndex((info) => timed(info) && frameElements(info, 1) > 0);
        const time = first < 0 ? 1 : Math.floor(inputs[first]?.length / frameElements(this.inputs[first], 1)) || 0;
        this.inputs.forEach((info, i) => {
            checkValues(info, inputs[i], frameElements(info, 1) * (timed(info) ? time : 1));
        });
        return time;
    }

    #alive() {
        if (this.#disposed) throw new RnnrtError(0, "this model is disposed");
    }
}

/** The state of one signal, or of a batch that advances together, with its input and output buffers on the heap. */
class Stream {
    #heap;
    #owned;
    #model; // keeps it from being collected
    #state = 0;
    #disposed = false;
    #inPointers = 0;
    #outPointers = 0;
    #spare = 0; // room for one state variable
    /** @type {Port[]} */
    #ports = []; // inputs, then outputs
    /** @type {Values[]} */
    #views = []; // of the ports
    /** @type {Values} */
    #first; // the first output, one time step
    /** @type {ArrayBufferLike | undefined} */
    #buffer; // what the views are of

    /**
     * @param {Model} model
     * @param {Owned} parent
     * @param {number} pointer
     * @param {number} maxTime
     * @param {number} batch
     */
    constructor(model, parent, pointer, maxTime, batch) {
        const heap = parent.heap;
        this.#model = model;
        this.#heap = heap;
        this.maxTime = maxTime;
        this.batch = batch;
        heap.check(heap.c.rnnrt_state_size(pointer, maxTime, batch, heap.room));
        const size = heap.word(heap.room);
        this.#owned = new Owned(heap, parent);
        try {
            const memory = this.#owned.take(size);
            heap.check(heap.c.rnnrt_state_init(memory, size, pointer, maxTime, batch, heap.room));
            this.#state = heap.word(heap.room);
            for (const info of [...model.inputs, ...model.outputs]) {
                const timed = !model.hasTime || info.shape.includes("time");
                const frame = frameElements(info, batch);
                this.#ports.push({ info, timed, frame, at: this.#owned.take(4 * frame * (timed ? maxTime : 1)) });
            }
            this.#spare = this.#owned.take(4 * Math.max(0, ...model.states.map((info) => frameElements(info, batch))));
            this.#inPointers = this.#owned.take(4 * this.#ports.length);
            this.#outPointers = this.#inPointers + 4 * model.inputs.length;
        } catch (error) {
            this.#owned.release();
            throw error;
        }
        new Uint32Array(heap.memory.buffer, this.#inPointers).set(this.#ports.map(({ at }) => at));
        this.#first = this.#refresh();
        forgotten.register(this, this.#owned, this);
    }

    /** @param {number | string} which */
    input(which) {
        this.#refresh();
        return this.#views[find(this.#model.inputs, which)];
    }

    /** @param {number | string} which */
    output(which) {
        this.#refresh();
        return this.#views[this.#model.inputs.length + find(this.#model.outputs, which)];
    }

    /** @param {...Numbers} frames */
    step(...frames) {
        const first = this.#refresh();
        if (frames.length > this.#model.inputs.length) {
            throw new TypeError(`got ${frames.length} inputs, expected ${this.#model.inputs.length}`);
        }
        for (let i = 0; i < frames.length; i++) checkValues(this.#ports[i].info, frames[i], this.#ports[i].frame);
        for (let i = 0; i < frames.length; i++) this.#views[i].set(frames[i]);
        const status = this.#heap.c.rnnrt_step(this.#state, this.#inPointers, this.#outPointers);
        if (status !== 0) this.#heap.check(status);
        return first;
    }

    /** @param {number} time */
    run(time) {
        this.#refresh();
        if (!Number.isInteger(time) || time < 0 || time > this.maxTime) {
            throw new RangeError(`time: got ${time}, expected 0 to ${this.maxTime}`);
        }
        this.#heap.check(this.#heap.c.rnnrt_run(this.#state, this.#inPointers, this.#outPointers, time));
        const port = this.#ports[this.#model.inputs.length];
        return this.#views[this.#model.inputs.length].subarray(0, port.frame * (port.timed ? time : 1));
    }

    /**
     * A whole sequence in calls of at most `chunk` time steps, into new arrays.
     * @param {readonly Numbers[]} inputs
     * @param {number} time
     * @param {number} chunk
     */
    sequence(inputs, time, chunk) {
        const outputs = this.#ports.slice(inputs.length);
        const results = outputs.map(({ info, timed, frame }) =>
            new (info.dtype === "int32" ? Int32Array : Float32Array)(frame * (timed ? time : 1)));
        let done = 0;
        do {
            const now = Math.min(chunk, time - done);
            inputs.forEach((values, i) => {
                const { timed, frame } = this.#ports[i];
                this.#views[i].set(timed ? part(values, done * frame, (done + now) * frame) : values);
            });
            this.run(now);
            outputs.forEach(({ timed, frame }, i) =>
                results[i].set(this.output(i).subarray(0, frame * (timed ? now : 1)), timed ? done * frame : 0));
            done += now;
        } while (done < time);
        return results;
    }

    reset() {
        this.#refresh();
        this.#heap.c.rnnrt_reset(this.#state);
    }

    /** @param {number | string} which */
    getState(which) {
        this.#refresh();
        const i = find(this.#model.states, which);
        const length = frameElements(this.#model.states[i], this.batch);
        this.#heap.check(this.#heap.c.rnnrt_state_get(this.#state, i, this.#spare, 4 * length));
        return this.#heap.view(this.#model.states[i], this.#spare, length).slice();
    }

    /**
     * @param {number | string} which
     * @param {Numbers} values
     */
    setState(which, values) {
        this.#refresh();
        const i = find(this.#model.states, which);
        const length = frameElements(this.#model.states[i], this.batch);
        checkValues(this.#model.states[i], values, length);
        this.#heap.view(this.#model.states[i], this.#spare, length).set(values);
        this.#heap.check(this.#heap.c.rnnrt_state_set(this.#state, i, this.#spare, 4 * length));
    }

    dispose() {
        if (this.#disposed) return;
        this.#disposed = true;
        forgotten.unregister(this);
        this.#owned.release();
    }

    /** Views of the heap as it is now; called before every use of the stream. */
    #refresh() {
        if (this.#disposed) throw new RnnrtError(0, "this stream is disposed");
        if (this.#buffer !== this.#heap.memory.buffer) {
            this.#buffer = this.#heap.memory.buffer;
            this.#views = this.#ports.map(({ info, timed, frame, at }) =>
                this.#heap.view(info, at, frame * (timed ? this.maxTime : 1)));
            const first = this.#ports[this.#model.inputs.length];
            this.#first = this.#heap.view(first.info, first.at, first.frame);
        }
        return this.#first;
    }
}

/**
 * @param {Numbers} values
 * @param {number} begin
 * @param {number} end
 * @returns {Numbers}
 */
function part(values, begin, end) {
    return "subarray" in values ? values.subarray(begin, end) : values.slice(begin, end);
}

/**
 * @param {readonly TensorInfo[]} infos
 * @param {number | string} which
 */
function find(infos, which) {
    const i = typeof which === "number" ? which : infos.findIndex(({ name }) => name === which);
    if (infos[i] === undefined) {
        const names = infos.map(({ name }) => `'${name}'`).join(", ");
        throw new RangeError(`got ${which}, expected 0 to ${infos.length - 1} or ${names || "nothing: there is none"}`);
    }
    return i;
}

/**
 * @param {ArrayBuffer | ArrayBufferView} bytes
 */
function asBytes(bytes) {
    if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes instanceof ArrayBuffer) return new Uint8Array(bytes);
    throw new TypeError(`got ${typeof bytes}, expected an ArrayBuffer or a view of one`);
}

/**
 * @param {unknown} source
 * @returns {source is string | URL}
 */
function isPlace(source) {
    return typeof source === "string" || source instanceof URL;
}

/**
 * What is at a URL; under Node also in a file.
 * @param {string | URL} source
 */
async function read(source) {
    const node = /** @type {any} */ (globalThis).process?.versions?.node !== undefined;
    if (node && !/^(https?|data|blob):/.test(String(source))) {
        const name = "node:fs/promises"; // in a variable, so that no bundler looks for it
        const { readFile } = await import(name);
        return new Uint8Array(await readFile(/^file:/.test(String(source)) ? new URL(source) : source));
    }
    const response = await fetch(source);
    if (!response.ok) throw new Error(`${source}: ${response.status} ${response.statusText}`);
    return new Uint8Array(await response.arrayBuffer());
}

/** @param {string | URL | ArrayBuffer | ArrayBufferView} source */
export async function compile(source = new URL("rnnrt.wasm", import.meta.url)) {
    return WebAssembly.compile(isPlace(source) ? await read(source) : asBytes(source));
}

/** @type {Promise<Runtime> | undefined} */
let shared;

/**
 * @param {string | URL | ArrayBuffer | ArrayBufferView} source
 * @param {{ readonly isa?: string, readonly runtime?: import("./rnnrt.js").Runtime }} options
 */
export async function load(source, options = {}) {
    if (options.runtime === undefined) {
        shared ??= compile().then((module) => new Runtime(module));
        shared.catch(() => { shared = undefined; });
    }
    const [runtime, bytes] = await Promise.all([options.runtime ?? shared, isPlace(source) ? read(source) : source]);
    try {
        return /** @type {import("./rnnrt.js").Runtime} */ (runtime).model(bytes, options);
    } catch (error) {
        if (error instanceof RnnrtError && isPlace(source)) error.message = `${source}: ${error.message}`;
        throw error;
    }
}
