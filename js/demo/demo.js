// The page: loads the model, runs it on a WAV file here and on the microphone in an audio worklet, and draws both.
import { Detector, FRAME, RATE } from "./detector.js";
import { draw } from "./plot.js";
import { compile, Runtime } from "./rnnrt.js";

const SECONDS_SHOWN = 10; // of the microphone
const SLICE_MS = 8; // of work between two drawings
const TIMED = 300; // frames, when the page opens

const element = (id) => document.getElementById(id);
const canvas = element("plot");
/** @type {{ probability: number, peak: number }[]} */
let frames = [];
let columns = (SECONDS_SHOWN * RATE) / FRAME;
let wasm, bytes, model, detector;
let microphone; // while it is on: { context, tracks }
let task = 0; // what is under way; a new one ends the one before

/** What the page is doing: "loading", "ready", "running", "done", "listening" or "error". */
function state(name, text) {
    document.body.dataset.state = name;
    element("status").textContent = text;
}

function show() {
    draw(canvas, frames, columns);
    const speech = frames.filter(({ probability }) => probability >= 0.5).length;
    element("frames").textContent = String(frames.length);
    element("speech").textContent = frames.length ? `${Math.round((100 * speech) / frames.length)} %` : "–";
    element("now").textContent = frames.length ? frames[frames.length - 1].probability.toFixed(3) : "–";
}

/** On the page's thread: worklets have no clock. The share is that of the 32 ms that a frame lasts. */
function showTime(milliseconds, count) {
    const each = milliseconds / count;
    const share = (100 * each) / ((1000 * FRAME) / RATE);
    element("time").textContent = `${(1000 * each).toFixed(0)} µs (${share.toFixed(2)} %)`;
}

function peakOf(samples) {
    return samples.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0);
}

/** Speech probabilities of a whole recording, in slices, so that the page stays alive. */
async function run(name, file) {
    const mine = await begin("running", name);
    const audio = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(file); // resamples, too
    if (mine !== task) return;
    const samples = new Float32Array(Math.ceil(audio.length / FRAME) * FRAME);
    for (let channel = 0; channel < audio.numberOfChannels; channel++) {
        audio.getChannelData(channel).forEach((sample, i) => (samples[i] += sample / audio.numberOfChannels));
    }
    columns = samples.length / FRAME;
    detector.reset();
    let busy = 0;
    for (let at = 0; at < samples.length && mine === task; ) {
        const begin = performance.now();
        const first = frames.length;
        for (; at < samples.length && performance.now() - begin < SLICE_MS; at += FRAME) {
            frames.push({ probability: detector.push(samples.subarray(at, at + FRAME)), peak: 0 });
        }
        busy += performance.now() - begin;
        for (let i = first; i < frames.length; i++) {
            frames[i].peak = peakOf(samples.subarray(i * FRAME, (i + 1) * FRAME));
        }
        show();
        await new Promise((resolve) => requestAnimationFrame(resolve));
    }
    if (mine !== task) return;
    if (frames.length) showTime(busy, frames.length);
    state("done", `${name}: ${(audio.length / RATE).toFixed(1)} s, done`);
}

/** The model on the audio thread; the page only draws what it reports. */
async function listen() {
    const mine = await begin("running", "Asking for the microphone");
    const sound = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: sound });
    const tracks = stream.getTracks();
    if (mine !== task) return tracks.forEach((track) => track.stop());
    const context = new AudioContext({ sampleRate: RATE });
    microphone = { context, tracks };
    await context.audioWorklet.addModule("worklet.js");
    const processorOptions = { wasm, model: bytes };
    const options = { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit", processorOptions };
    const node = new AudioWorkletNode(context, "voice-activity", options);
    node.onprocessorerror = () => state("error", "The audio worklet has failed");
    node.port.onmessage = ({ data: [probability, peak] }) => {
        if (mine === task) frames.push({ probability, peak });
    };
    context.createMediaStreamSource(stream).connect(node);
    await context.resume();
    columns = (SECONDS_SHOWN * RATE) / FRAME;
    element("microphone").textContent = "Stop";
    state("listening", "Listening");
    const loop = () => {
        if (mine !== task) return;
        show();
        requestAnimationFrame(loop);
    };
    loop();
}

/** End what is under way and clear the plot. */
async function begin(name, text) {
    const mine = ++task;
    if (microphone) {
        for (const track of microphone.tracks) track.stop();
        await microphone.context.close();
        microphone = undefined;
        element("microphone").textContent = "Microphone";
    }
    frames = [];
    show();
    state(name, text);
    return mine;
}

async function stop() {
    const heard = frames;
    await begin("done", "Stopped");
    frames = heard;
    show();
}

function guarded(action) {
    return async (event) => {
        try {
            await action(event);
        } catch (error) {
            state("error", String(error));
        }
    };
}

async function fetched(url) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
    return response.arrayBuffer();
}

async function start() {
    state("loading", "Loading");
    [wasm, bytes] = await Promise.all([compile(), fetched("silero.rnnrt")]);
    const runtime = new Runtime(wasm);
    model = runtime.model(bytes);
    detector = new Detector(model);
    const silence = new Float32Array(FRAME);
    for (let i = 0; i < TIMED; i++) detector.push(silence); // until it is compiled for speed
    const begin = performance.now();
    for (let i = 0; i < TIMED; i++) detector.push(silence);
    showTime(performance.now() - begin, TIMED);
    element("model").textContent = `${Math.round(bytes.byteLength / 1000)} kB, ${model.isa}`;
    element("memory").textContent = `${(runtime.memoryBytes / 1e6).toFixed(1)} MB`;
    element("file").onchange = guarded(async ({ target: { files } }) => {
        if (files.length) await run(files[0].name, await files[0].arrayBuffer());
    });
    element("sample").onclick = guarded(async () => run("speech.wav", await fetched("speech.wav")));
    element("microphone").onclick = guarded(async () => (microphone ? stop() : listen()));
    addEventListener("resize", show);
    for (const control of document.querySelectorAll("button, input")) control.disabled = false;
    show();
    state("ready", "Ready");
}

await guarded(start)();
