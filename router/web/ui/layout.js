// layout - where each branch of the tree lies, which one is under a point, which one a key leads to.
// No drawing in here: numbers in, numbers out.

const COLUMN_MIN = 16, COLUMN_MAX = 480, GAP = 3;

/**
 * Boxes in order of depth: {node, depth, x, y, height, from, fromY, fromHeight, room, children, above}.
 * A box is as tall as its share of all pages; boxes of siblings lie one under the other, largest first,
 * and share their parent's height.
 */
export function layout(nodes, width, height, bar) {
    const children = new Map([[0, []]]);
    for (const node of nodes.values()) children.set(node.id, []);
    for (const node of nodes.values()) (children.get(node.parent) ?? children.get(0)).push(node);
    for (const list of children.values()) list.sort((a, b) => b.below - a.below || a.id - b.id);
    const boxes = [];
    const byId = new Map();
    const roots = children.get(0);
    const total = roots.reduce((sum, node) => sum + node.below, 0) || 1;
    const space = height - GAP * Math.min(roots.length, 12);
    let y = 0;
    for (const [i, node] of roots.entries()) {
        add(node, 0, y, (space * node.below) / total, null);
        y = boxes.at(-1).y + boxes.at(-1).height + (i < 12 ? GAP : 0);
    }
    // Breadth first: boxes grows while it is walked.
    for (let at = 0; at < boxes.length; at++) {
        const box = boxes[at];
        let from = box.y;
        for (const node of children.get(box.node.id)) {
            const tall = (box.height * node.below) / Math.max(box.node.below, 1);
            add(node, box.depth + 1, from, tall, box);
            from += tall;
        }
    }
    const depth = boxes.reduce((most, box) => Math.max(most, box.depth), 0);
    const column = Math.max(COLUMN_MIN, Math.min(COLUMN_MAX, (width - bar - 64) / Math.max(depth, 1)));
    for (const box of boxes) {
        box.x = box.depth * column;
        box.room = box.children.length ? column : Math.max(column, 64);
    }
    return { boxes, byId, column, bar };

    function add(node, depth, top, tall, from) {
        // A thin gap between siblings, where there is room for one.
        const inset = tall > 6 && from ? 1 : 0;
        const box = { node, depth, y: top + inset, height: Math.max(tall - 2 * inset, 0), from, fromY: top + inset, fromHeight: Math.max(tall - 2 * inset, 0), children: [] };
        from?.children.push(box);
        boxes.push(box);
        byId.set(node.id, box);
    }
}

/** The box under a point: its bar, or the ribbon that leads to it. */
export function nodeAt(plan, x, y) {
    const depth = Math.max(0, Math.ceil((x - plan.bar) / plan.column));
    let best = null;
    for (const box of plan.boxes)
        if (box.depth <= depth && y >= box.y && y <= box.y + Math.max(box.height, 1) && (!best || box.depth > best.depth)) best = box;
    return best;
}

/** Where an arrow key leads from the chosen id; undefined: the key is none of ours. */
export function step(plan, chosen, key) {
    const first = plan.boxes[0]?.node.id ?? null;
    if (!["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "Escape"].includes(key)) return undefined;
    if (key === "Escape") return null;
    const box = plan.byId.get(chosen);
    if (!box || key === "Home") return first;
    const row = box.from ? box.from.children : plan.boxes.filter((other) => !other.from);
    const at = row.indexOf(box);
    const next = {
        ArrowLeft: box.from,
        ArrowRight: box.children[0],
        ArrowUp: row[at - 1],
        ArrowDown: row[at + 1],
    }[key];
    return (next ?? box).node.id;
}
