// The types of rnnrt.js, and its manual. tests/test_js.py checks rnnrt.js against them.

/** A view of float32 or int32 values. */
export type Values = Float32Array | Int32Array;

/** Values for an input: an array of its own type, or a plain array of numbers. */
export type Numbers = Float32Array | Int32Array | readonly number[];

/** What a model's input, output or state variable looks like. Values lie in row-major order. */
export interface TensorInfo {
    readonly name: string;
    readonly shape: readonly (number | "time" | "batch")[];
    readonly dtype: "float32" | "int32";
}

/**
 * What the library refuses: a damaged file, an operator that it lacks, a disposed stream, too little memory. Wrong
 * arguments are TypeErrors and RangeErrors. Nothing has happened then.
 */
export class RnnrtError extends Error {
    constructor(status: number, message: string);
    /** A number of rnnrt_status in rnnrt.h; 0: the object has been disposed. */
    readonly status: number;
}

/**
 * Load a model into a runtime that all models loaded so share.
 *
 * @param source A .rnnrt file: its URL, under Node also its path, or its bytes.
 * @param options `runtime`: one of your own; `isa`: see `Runtime.model`.
 * @throws RnnrtError where it is not a usable model.
 */
export function load(
    source: string | URL | ArrayBuffer | ArrayBufferView,
    options?: { readonly isa?: string; readonly runtime?: Runtime },
): Promise<Model>;

/**
 * Compile the library for a Runtime of one's own: in an audio worklet, which can't load anything, or where rnnrt.wasm
 * lies elsewhere.
 *
 * @param source rnnrt.wasm or where it is; default: beside rnnrt.js.
 */
export function compile(source?: string | URL | ArrayBuffer | ArrayBufferView): Promise<WebAssembly.Module>;

/** One compiled library with its own memory, in which models and streams live. */
export class Runtime {
    /** @param module From `compile`; it may be sent to workers and audio worklets. */
    constructor(module: WebAssembly.Module);

    /**
     * Load a model. Every byte is checked.
     *
     * @param bytes A .rnnrt file; copied.
     * @param options `isa`: "scalar" for the portable kernels, which give the same bits.
     * @throws RnnrtError where it is damaged, cut off, of another version, or needs an operator that this one lacks.
     */
    model(bytes: ArrayBuffer | ArrayBufferView, options?: { readonly isa?: string }): Model;

    /** Bytes of memory in use. It never shrinks; what is freed is used again. */
    readonly memoryBytes: number;
}

/** A loaded model: immutable, shared by any number of streams. */
export interface Model {
    /** What the model takes. */
    readonly inputs: readonly TensorInfo[];
    /** What the model gives. */
    readonly outputs: readonly TensorInfo[];
    /** What a stream remembers from one time step to the next. */
    readonly states: readonly TensorInfo[];
    /** Whether frames can be stepped through one by one. */
    readonly streamable: boolean;
    /** Whether an input has a time axis; where none has, a time step is one evaluation of the graph. */
    readonly hasTime: boolean;
    /** Instruction set in use: "wasm" or "scalar". */
    readonly isa: string;
    /** The converter's report, parsed anew at each access. */
    readonly meta: Record<string, unknown>;

    /**
     * Start a stream at the initial state. All its memory is allocated here.
     *
     * @param options `maxTime`: time steps that one `run` may take; `batch`: signals that advance together. Default: 1.
     * @throws RnnrtError where the model looks into the future, or there is too little memory.
     */
    stream(options?: { readonly maxTime?: number; readonly batch?: number }): Stream;

    /**
     * Evaluate a whole sequence, of one signal, from the initial state.
     *
     * @param inputs One array per input, of any number of time steps.
     * @returns New arrays, one per output.
     */
    run(...inputs: Numbers[]): Values[];

    /** Give the memory back, as soon as no stream needs it. What is forgotten loses it when garbage is collected. */
    dispose(): void;
}

/**
 * The state of one signal (or of a batch that advances together), with its input and output buffers on the heap.
 *
 *     stream.input(0)[7] = 0.5;      // write the frame where the library reads it
 *     const y = stream.step();       // and read the result where the library wrote it: nothing is copied
 *
 * The views stay valid until the runtime's memory grows, which only loading a model, starting a stream or Model.run can
 * cause. Then their length is 0; `input`, `output` and `step` return new ones of the same memory: ask again after that.
 */
export interface Stream {
    /** Time steps that one `run` may take. */
    readonly maxTime: number;
    /** Signals that advance together. */
    readonly batch: number;

    /** The buffer of an input, by number or name: `maxTime` time steps, of which `step` takes the first. */
    input(which: number | string): Values;

    /** The buffer of an output: `maxTime` time steps, of which `step` fills the first. The next call overwrites it. */
    output(which: number | string): Values;

    /**
     * Advance by one time step.
     *
     * @param frames Copied into the inputs' buffers; an input without one takes what is there.
     * @returns The first output: a view that the next call overwrites.
     */
    step(...frames: Numbers[]): Values;

    /**
     * Advance by `time` time steps at once, 0 to `maxTime`, over what is in the inputs' buffers: the same bits as that
     * many steps. Arrays hold just these steps: of shape [1, time, 161] with 3 steps, the first 3 * 161 values.
     *
     * @returns The first output: a view that the next call overwrites.
     */
    run(time: number): Values;

    /** Back to the initial state. */
    reset(): void;

    /** A copy of a state variable, by number or name. */
    getState(which: number | string): Values;

    /** Replace a state variable. */
    setState(which: number | string, values: Numbers): void;

    /** Give the memory back; don't use its views any more. What is forgotten loses it when garbage is collected. */
    dispose(): void;
}
