// Times one step of rnnrt and of onnxruntime-web (WebAssembly, one thread) under Node: node run.mjs cases.json seconds.
// Contenders take turns in slices; every step is timed alone. Prints JSON: median and first-percentile microseconds.
import { readFile } from "node:fs/promises";
import process from "node:process";

import * as ort from "onnxruntime-web";

import { compile, Runtime } from "./rnnrt/rnnrt.js";

const SLICE_MS = 30;
const LARGEST_ERROR = 1e-4; // of f32, scaled by max(1, |y|)
const LEAST_SQNR = 15; // dB, of int8

ort.env.wasm.numThreads = 1;
const tensor = (values, shape) => new ort.Tensor(values instanceof BigInt64Array ? "int64" : "float32", values, shape);

/** onnxruntime's session over one frame; its states go back in. */
class OrtWeb {
    static async open(spec) {
        const contender = new OrtWeb();
        contender.spec = spec;
        contender.session = await ort.InferenceSession.create(new Uint8Array(await readFile(spec.onnx)), {
            executionProviders: ["wasm"],
            graphOptimizationLevel: "all",
        });
        contender.x = new Float32Array(spec.input.shape.reduce((a, b) => a * b, 1));
        contender.feeds = { [spec.input.name]: tensor(contender.x, spec.input.shape) };
        for (const [name, value] of Object.entries(spec.constants)) {
            contender.feeds[name] = tensor(BigInt64Array.of(BigInt(value)), []);
        }
        contender.reset();
        const states = spec.states.map(({ output }) => output);
        contender.output = contender.session.outputNames.find((name) => !states.includes(name));
        return contender;
    }

    reset() {
        for (const { input, shape } of this.spec.states) {
            this.feeds[input] = tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);
        }
    }

    async step(frame) {
        this.x.set(frame);
        const found = await this.session.run(this.feeds);
        for (const { input, output } of this.spec.states) this.feeds[input] = found[output];
        return found[this.output].data;
    }
}

class Rnnrt {
    constructor(runtime, bytes) {
        this.stream = runtime.model(bytes).stream();
    }

    reset() {
        this.stream.reset();
    }

    step(frame) {
        return this.stream.step(frame);
    }
}

/** All outputs; where onnxruntime's graph begins anew with every call, so does everybody. */
async function outputs(contender, frames, anew) {
    contender.reset();
    const found = [];
    for (const frame of frames) {
        if (anew) contender.reset();
        found.push(...(await contender.step(frame)));
    }
    contender.reset();
    return found;
}

function compare(found, expected) {
    let [error, signal, noise] = [0, 0, 0];
    if (found.length !== expected.length) throw new Error(`${found.length} values, expected ${expected.length}`);
    expected.forEach((y, i) => {
        error = Math.max(error, Math.abs(found[i] - y) / Math.max(1, Math.abs(y)));
        signal += y * y;
        noise += (found[i] - y) ** 2;
    });
    return { error, sqnr: 10 * Math.log10(signal / noise) };
}

async function slice(contender, frames, times, milliseconds) {
    const isAsync = contender instanceof OrtWeb; // rnnrt's step needs no await, so it gets none
    const end = performance.now() + milliseconds;
    for (let i = 0, now = performance.now(); now < end; i = (i + 1) % frames.length) {
        const begin = performance.now();
        if (isAsync) await contender.step(frames[i]);
        else contender.step(frames[i]);
        now = performance.now();
        times.push(1000 * (now - begin));
    }
}

async function measure(spec, runtime, seconds) {
    const all = new Float32Array((await readFile(spec.frames)).buffer.slice(0));
    const size = spec.input.shape.reduce((a, b) => a * b, 1);
    const frames = Array.from({ length: all.length / size }, (_, i) => all.subarray(i * size, (i + 1) * size));
    const contenders = { "onnxruntime-web f32": await OrtWeb.open(spec) };
    for (const precision of ["f32", "int8"]) {
        contenders[`rnnrt ${precision}`] = new Rnnrt(runtime, await readFile(spec.rnnrt[precision]));
    }
    const anew = spec.states.length === 0;
    const expected = await outputs(contenders["onnxruntime-web f32"], frames, anew);
    const f32 = compare(await outputs(contenders["rnnrt f32"], frames, anew), expected);
    const int8 = compare(await outputs(contenders["rnnrt int8"], frames, anew), expected);
    const right = f32.error < LARGEST_ERROR && int8.sqnr > LEAST_SQNR;
    if (!right) throw new Error(`${spec.name}: error ${f32.error}, SQNR ${int8.sqnr} dB`);
    const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
    for (const contender of Object.values(contenders)) await slice(contender, frames, [], 300); // until it is compiled
    for (let used = 0; used < 1000 * seconds; used += SLICE_MS) {
        for (const [name, contender] of Object.entries(contenders)) {
            await slice(contender, frames, times[name], SLICE_MS);
        }
    }
    const microseconds = Object.fromEntries(
        Object.entries(times).map(([name, list]) => {
            list.sort((a, b) => a - b);
            return [name, { p50: list[list.length >> 1], p01: list[Math.floor(list.length / 100)], steps: list.length }];
        }),
    );
    return { name: spec.name, microseconds, error: f32.error, sqnr: int8.sqnr };
}

const [casesPath, seconds] = process.argv.slice(2);
const cases = JSON.parse(await readFile(casesPath, "utf8"));
const runtime = new Runtime(await compile());
const found = [];
for (const spec of cases) {
    found.push(await measure(spec, runtime, Number(seconds)));
    console.error(JSON.stringify(found.at(-1)));
}
console.log(JSON.stringify({ node: process.version, onnxruntime: ort.env.versions.web, cases: found }));
process.exit(0); // onnxruntime-web keeps handles open
