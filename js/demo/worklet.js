// Runs the model on the audio thread: collects frames from blocks of 128 samples and reports each one's probability.
import { Detector, FRAME } from "./detector.js";
import { Runtime } from "./rnnrt.js";

class VoiceActivity extends AudioWorkletProcessor {
    #detector;
    #samples = new Float32Array(FRAME);
    #filled = 0;

    /** processorOptions: { wasm: WebAssembly.Module, model: ArrayBuffer }, since a worklet can't load anything. */
    constructor(options) {
        super();
        const { wasm, model } = options.processorOptions;
        this.#detector = new Detector(new Runtime(wasm).model(model));
    }

    process([[samples]]) {
        if (samples === undefined) return true; // nothing connected yet
        this.#samples.set(samples, this.#filled);
        this.#filled += samples.length;
        if (this.#filled === FRAME) {
            this.#filled = 0;
            const probability = this.#detector.push(this.#samples);
            let peak = 0;
            for (const sample of this.#samples) peak = Math.max(peak, Math.abs(sample));
            this.port.postMessage([probability, peak]);
        }
        return true;
    }
}

registerProcessor("voice-activity", VoiceActivity);
