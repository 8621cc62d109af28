// Voice activity by Silero VAD at 16 kHz: a probability for every frame of 512 samples. Used by the page and the worklet.

export const RATE = 16000;
export const FRAME = 512;
const CONTEXT = 64; // samples of the frame before, in front of the new ones

export class Detector {
    #stream;

    /** @param {import("./rnnrt.js").Model} model */
    constructor(model) {
        this.#stream = model.stream();
    }

    /**
     * The probability that somebody speaks in these samples.
     * @param {Float32Array} samples FRAME of them.
     */
    push(samples) {
        const x = this.#stream.input(0); // where the library reads
        x.set(samples, CONTEXT);
        const [probability] = this.#stream.step();
        x.copyWithin(0, FRAME);
        return probability;
    }

    reset() {
        this.#stream.reset();
        this.#stream.input(0).fill(0);
    }
}
