// spark - the little history of one number.
import { svg } from "./dom.js";

const KEPT = 60; // samples, one a second

export class Spark {
    constructor(width = 72, height = 20) {
        this.width = width;
        this.height = height;
        this.values = [];
        this.line = svg("path", { class: "spark-line" });
        this.area = svg("path", { class: "spark-area" });
        this.root = svg("svg", { class: "spark", width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" }, this.area, this.line);
    }

    push(value) {
        this.values.push(value);
        if (this.values.length > KEPT) this.values.shift();
        const top = Math.max(...this.values);
        // A flat line stays as it is.
        if (top === this.top && this.values.length === this.drawn && this.values.every((v) => v === value)) return;
        this.top = top;
        this.drawn = this.values.length;
        const step = this.width / (KEPT - 1), left = this.width - (this.values.length - 1) * step;
        const y = (v) => (this.height - 1.5 - (top > 0 ? (v / top) * (this.height - 3) : 0)).toFixed(1);
        const points = this.values.map((v, i) => `${(left + i * step).toFixed(1)},${y(v)}`);
        this.line.setAttribute("d", "M" + points.join("L"));
        this.area.setAttribute("d", `M${left.toFixed(1)},${this.height}L${points.join("L")}L${this.width},${this.height}Z`);
    }
}
