// Drawing a polygon point by point: when it is closed, and what it may not be. All relative to the picture: 0..1.
import { LEAST, type Point, type Vector } from "./shapes";

/** As many as the server takes. */
export const MOST_POINTS = 1_000;
const FEWEST_POINTS = 3;

/** Of the picture's area: what is smaller was no polygon but a line. */
const LEAST_AREA = LEAST * LEAST;

export const areaOf = (points: Point[]): number =>
  Math.abs(
    points.reduce((sum, [x, y], at) => {
      const [nextX, nextY] = points[(at + 1) % points.length]!;
      return sum + x * nextY - nextX * y;
    }, 0),
  ) / 2;

/** On which side of the line from `a` to `b` the third point lies: > 0, < 0, or 0 on it. */
const turn = ([ax, ay]: Point, [bx, by]: Point, [x, y]: Point) => (bx - ax) * (y - ay) - (by - ay) * (x - ax);

const crosses = (a: Point, b: Point, c: Point, d: Point): boolean =>
  turn(a, b, c) * turn(a, b, d) < 0 && turn(c, d, a) * turn(c, d, b) < 0;

/** Whether two of its sides cross. Every pair is looked at: some milliseconds for a thousand points. */
export function crossesItself(points: Point[]): boolean {
  const side = (at: number): [Point, Point] => [points[at]!, points[(at + 1) % points.length]!];
  for (let one = 0; one < points.length; one++)
    for (let other = one + 2; other < points.length; other++)
      if (crosses(...side(one), ...side(other))) return true;
  return false;
}

/** Why these points are no polygon, as a sentence; "" when they are one. */
export function problemOf(points: Point[]): string {
  if (points.length < FEWEST_POINTS)
    return `A polygon has three points or more; this has ${points.length || "none"}.`;
  if (points.length > MOST_POINTS)
    return `A polygon has ${MOST_POINTS} points at most; this has ${points.length}.`;
  if (crossesItself(points))
    return "Its lines cross. Take points back, or set them so that no two lines meet.";
  if (areaOf(points) < LEAST_AREA) return "It has no area. Set its points further apart.";
  return "";
}

/** Whether a place is so close to a point that this is meant: `reach` in shares of the picture's sides. */
export const isNear = ([x, y]: Point, to: Vector, reach: Vector): boolean =>
  Math.abs(x - to.x) <= reach.x && Math.abs(y - to.y) <= reach.y;
