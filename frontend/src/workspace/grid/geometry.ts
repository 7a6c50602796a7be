// Where tiles stand. Positions are numbers in the order; a cut in the order starts a new row below a line.

export const GAP = 6;
const LINE_HEIGHT = 30;
/** Chromium draws elements up to 2²⁵ px high; above this the scroll bar stands for more than its own pixels. */
const TALLEST_PX = 2 ** 24;

export interface Layout {
  count: number;
  columns: number;
  /** Distance from the left edge of a tile to that of the next, and from row to row. */
  pitchX: number;
  pitchY: number;
  tileWidth: number;
  tileHeight: number;
  /** Positions before the line; `count` or more: no line. */
  cut: number;
}

export function tiles(count: number, width: number, wantedSide: number, cut: number): Layout {
  const columns = Math.max(1, Math.floor((width + GAP) / (wantedSide + GAP)));
  const side = Math.floor((width - GAP * (columns - 1)) / columns);
  return { count, columns, pitchX: side + GAP, pitchY: side + GAP, tileWidth: side, tileHeight: side, cut };
}

export function rows(count: number, width: number, height: number, cut: number): Layout {
  return { count, columns: 1, pitchX: width, pitchY: height, tileWidth: width, tileHeight: height, cut };
}

const hasLine = (layout: Layout) => layout.cut < layout.count;
const rowsAbove = (layout: Layout) => Math.ceil(Math.min(layout.cut, layout.count) / layout.columns);

export function rowOf(layout: Layout, position: number): number {
  if (!hasLine(layout) || position < layout.cut) return Math.floor(position / layout.columns);
  return rowsAbove(layout) + Math.floor((position - layout.cut) / layout.columns);
}

export function columnOf(layout: Layout, position: number): number {
  return (hasLine(layout) && position >= layout.cut ? position - layout.cut : position) % layout.columns;
}

export const rowCount = (layout: Layout): number => (layout.count ? rowOf(layout, layout.count - 1) + 1 : 0);

export function topOfRow(layout: Layout, row: number): number {
  return row * layout.pitchY + (hasLine(layout) && row >= rowsAbove(layout) ? LINE_HEIGHT : 0);
}

export const lineTop = (layout: Layout): number | null =>
  hasLine(layout) ? rowsAbove(layout) * layout.pitchY : null;

export const contentHeight = (layout: Layout): number =>
  rowCount(layout) * layout.pitchY + (hasLine(layout) ? LINE_HEIGHT : 0);

/** First position of a row and the one after its last. */
export function positionsOfRow(layout: Layout, row: number): [number, number] {
  const above = rowsAbove(layout);
  if (!hasLine(layout) || row < above) {
    const start = row * layout.columns;
    return [start, Math.min(start + layout.columns, hasLine(layout) ? layout.cut : layout.count)];
  }
  const start = layout.cut + (row - above) * layout.columns;
  return [start, Math.min(start + layout.columns, layout.count)];
}

/** The row at a height of the content. */
export function rowAt(layout: Layout, y: number): number {
  const line = lineTop(layout);
  const below = line !== null && y >= line ? Math.max(line, y - LINE_HEIGHT) : y;
  return Math.max(0, Math.min(rowCount(layout) - 1, Math.floor(below / layout.pitchY)));
}

/** Positions of which something can be seen between two heights, `[first, after the last)`. */
export function positionsBetween(layout: Layout, top: number, bottom: number): [number, number] {
  if (!layout.count) return [0, 0];
  return [positionsOfRow(layout, rowAt(layout, top))[0], positionsOfRow(layout, rowAt(layout, bottom))[1]];
}

/** Positions of the tiles that a rectangle of the content touches. */
export function positionsIn(layout: Layout, x1: number, y1: number, x2: number, y2: number): number[] {
  if (!layout.count) return [];
  const [left, right, top, bottom] = [Math.min(x1, x2), Math.max(x1, x2), Math.min(y1, y2), Math.max(y1, y2)];
  const found: number[] = [];
  for (let row = rowAt(layout, top); row <= rowAt(layout, bottom); row++) {
    const y = topOfRow(layout, row);
    if (y + layout.tileHeight < top || y > bottom) continue;
    const [start, end] = positionsOfRow(layout, row);
    for (let position = start; position < end; position++) {
      const x = (position - start) * layout.pitchX;
      if (x + layout.tileWidth >= left && x <= right) found.push(position);
    }
  }
  return found;
}

/** The position that an arrow key leads to. */
export function moved(layout: Layout, position: number, direction: "left" | "right" | "up" | "down"): number {
  const last = layout.count - 1;
  if (direction === "left") return Math.max(0, position - 1);
  if (direction === "right") return Math.min(last, position + 1);
  const row = rowOf(layout, position) + (direction === "up" ? -1 : 1);
  if (row < 0 || row >= rowCount(layout)) return position;
  const [start, end] = positionsOfRow(layout, row);
  return Math.min(start + columnOf(layout, position), end - 1);
}

/** A scroll bar of bounded length over content of any height. */
export class Scroll {
  constructor(
    readonly contentHeight: number,
    readonly viewportHeight: number,
  ) {}

  get height(): number {
    return Math.min(this.contentHeight, TALLEST_PX);
  }

  private get factor(): number {
    const range = this.height - this.viewportHeight;
    return range > 0 ? (this.contentHeight - this.viewportHeight) / range : 1;
  }

  toContent(scrollTop: number): number {
    return scrollTop * this.factor;
  }

  toScroll(top: number): number {
    return top / this.factor;
  }
}
