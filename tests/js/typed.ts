// Compiled, never run: what the package's types allow and what they refuse.
import { load, compile, Runtime, RnnrtError, type Model, type Stream, type Values } from "rnnrt";

export async function right(bytes: ArrayBuffer): Promise<number> {
    const model: Model = await load(new URL("model.rnnrt", "https://example.org"), { isa: "wasm" });
    const other: Model = new Runtime(await compile()).model(bytes, { isa: "scalar" });
    const stream: Stream = model.stream({ maxTime: 4, batch: 2 });
    const y: Values = stream.step(new Float32Array(4), Int32Array.of(1), [1, 2]);
    const dim: number | "time" | "batch" = model.inputs[0].shape[0];
    stream.setState("h", stream.getState(0));
    try {
        other.run([1, 2])[0].fill(0);
    } catch (error) {
        if (error instanceof RnnrtError) return error.status;
    }
    return y[0] + stream.input("x").length + (dim === "time" ? 1 : 2);
}

export async function wrong(model: Model, stream: Stream): Promise<void> {
    // @ts-expect-error a number is no model
    await load(42);
    // @ts-expect-error no such option
    model.stream({ time: 3 });
    // @ts-expect-error text is no frame
    stream.step("frame");
    // @ts-expect-error float64 is no input's type
    stream.step(new Float64Array(4));
    // @ts-expect-error the number of steps is needed
    stream.run();
    // @ts-expect-error a model is what it is
    model.isa = "scalar";
}
