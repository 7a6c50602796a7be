// Boxes and polygons over a picture, and how they are moved, resized and pulled. All relative to the picture: 0..1.
import { percent } from "../../lib/format";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export type Point = [number, number];

/** A box, or a polygon with the box around it. */
export interface Shape extends Box {
  polygon: Point[] | null;
}

export interface Vector {
  x: number;
  y: number;
}

/** Where a box begins that is made by keys. */
export const MIDDLE: Shape = { x: 0.3, y: 0.3, width: 0.4, height: 0.4, polygon: null };

/** Of a side: what is smaller was a click, and nobody could hit it again. */
export const LEAST = 0.005;

const within = (value: number, least: number, most: number): number => Math.min(Math.max(value, least), most);

/** What of a place lies inside the picture. */
export const inside = ({ x, y }: Vector): Vector => ({ x: within(x, 0, 1), y: within(y, 0, 1) });

/** “31 × 56 %” of the picture. */
export const sizeOf = ({ width, height }: Box): string =>
  `${percent(width).replace(" %", "")} × ${percent(height)}`;

/** The polygon with the box around it. */
export function around(polygon: Point[]): Shape {
  const [xs, ys] = [polygon.map(([x]) => x), polygon.map(([, y]) => y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y, polygon };
}

/** The box between two corners, as far as it is inside the picture. */
export function between(from: Vector, to: Vector): Shape {
  const [one, other] = [inside(from), inside(to)];
  const [x, y] = [Math.min(one.x, other.x), Math.min(one.y, other.y)];
  return { x, y, width: Math.abs(one.x - other.x), height: Math.abs(one.y - other.y), polygon: null };
}

/** The shape elsewhere, within the picture. */
export function moved(shape: Shape, by: Vector): Shape {
  const x = within(shape.x + by.x, 0, 1 - shape.width);
  const y = within(shape.y + by.y, 0, 1 - shape.height);
  return stretched(shape, { x, y, width: shape.width, height: shape.height });
}

/** The shape stretched to fill `box`. */
function stretched({ x, y, width, height, polygon }: Shape, box: Box): Shape {
  const [across, down] = [box.width / width, box.height / height];
  return {
    ...box,
    polygon:
      polygon && polygon.map(([a, b]) => [box.x + (a - x) * across, box.y + (b - y) * down] satisfies Point),
  };
}

export const CORNERS = ["top left", "top right", "bottom left", "bottom right"] as const;
export type Corner = (typeof CORNERS)[number];

/** The shape with one corner of its box dragged, never smaller than it can be hit again. */
export function resized(shape: Shape, corner: Corner, by: Vector): Shape {
  const { x, y, width, height } = shape;
  let [left, top, right, bottom] = [x, y, x + width, y + height];
  if (corner.endsWith("left")) left = within(left + by.x, 0, right - LEAST);
  else right = within(right + by.x, left + LEAST, 1);
  if (corner.startsWith("top")) top = within(top + by.y, 0, bottom - LEAST);
  else bottom = within(bottom + by.y, top + LEAST, 1);
  return stretched(shape, { x: left, y: top, width: right - left, height: bottom - top });
}

const STEP = 0.01;
const ARROWS: Record<string, Vector> = {
  ArrowLeft: { x: -STEP, y: 0 },
  ArrowRight: { x: STEP, y: 0 },
  ArrowUp: { x: 0, y: -STEP },
  ArrowDown: { x: 0, y: STEP },
};

/** How far an arrow key goes; null for other keys. */
export const stepOf = (key: string): Vector | null => ARROWS[key] ?? null;

/** The shape after an arrow key: moved, or with Shift larger or smaller. null for other keys. */
export function nudged(shape: Shape, key: string, isShift: boolean): Shape | null {
  const by = stepOf(key);
  if (!by) return null;
  return isShift ? resized(shape, "bottom right", by) : moved(shape, by);
}

/** What a shape can be pulled by: the corners of a box, the points of a polygon. */
export interface Handle extends Vector {
  name: string;
}

export function handlesOf({ x, y, width, height, polygon }: Shape): Handle[] {
  if (polygon)
    return polygon.map(([a, b], at) => ({ name: `Point ${at + 1} of ${polygon.length}`, x: a, y: b }));
  return CORNERS.map((name) => ({
    name,
    x: name.endsWith("left") ? x : x + width,
    y: name.startsWith("top") ? y : y + height,
  }));
}

/** The shape with its handle at this place of `handlesOf` pulled. */
export function pulled(shape: Shape, at: number, by: Vector): Shape {
  const { polygon } = shape;
  if (!polygon) return resized(shape, CORNERS[at]!, by);
  const [x, y] = polygon[at]!;
  const to = inside({ x: x + by.x, y: y + by.y });
  return around(polygon.with(at, [to.x, to.y]));
}

/** The shape as the API takes it: all of a polygon, or the sides of a box. */
export const shapeBody = ({ x, y, width, height, polygon }: Shape) =>
  polygon ? { polygon } : { x, y, width, height };
