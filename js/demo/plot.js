// The plot: the sound's level above, the probability of speech below, one column per frame.

const THRESHOLD = 0.5;
const SPLIT = 0.55; // share of the height for the sound

/**
 * @param {HTMLCanvasElement} canvas
 * @param {{ probability: number, peak: number }[]} frames
 * @param {number} columns Frames that fit: the last ones are drawn.
 */
export function draw(canvas, frames, columns) {
    const scale = globalThis.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * scale)) canvas.width = Math.round(width * scale);
    if (canvas.height !== Math.round(height * scale)) canvas.height = Math.round(height * scale);
    const style = getComputedStyle(canvas);
    const color = (name) => style.getPropertyValue(name);
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const shown = frames.slice(-columns);
    const step = width / columns;
    const middle = (height * SPLIT) / 2;
    const [top, bottom] = [height * SPLIT + 24, height - 4];
    const y = (probability) => bottom - probability * (bottom - top);
    shown.forEach(({ probability, peak }, i) => {
        const speech = probability >= THRESHOLD;
        if (speech) {
            context.fillStyle = color("--shade");
            const left = Math.floor(i * step); // on whole pixels: no seams
            context.fillRect(left, 0, Math.floor((i + 1) * step) - left, height);
        }
        const tall = Math.max(1, 2 * middle * Math.min(1, peak));
        context.fillStyle = color(speech ? "--speech" : "--quiet");
        context.fillRect(i * step, middle - tall / 2, Math.max(1, step * 0.8), tall);
    });
    context.fillStyle = color("--line");
    context.font = "12px system-ui, sans-serif";
    context.fillText("level", 6, 16);
    context.fillText("probability of speech", 6, top - 6);
    context.strokeStyle = color("--line");
    context.setLineDash([4, 4]);
    context.beginPath();
    context.moveTo(0, y(THRESHOLD));
    context.lineTo(width, y(THRESHOLD));
    context.stroke();
    context.setLineDash([]);
    context.strokeStyle = color("--speech");
    context.lineWidth = 1.5;
    context.beginPath();
    shown.forEach(({ probability }, i) => context.lineTo((i + 0.5) * step, y(probability)));
    context.stroke();
    context.lineWidth = 1;
}
