// The examples of a search: whole items, and areas of them. As they stand in the address and in the API's bodies.
import type { Box } from "../regions/outlines";

/** x, y, width, height, relative to the picture: 0..1. */
export type Four = [number, number, number, number];

/** An area of an image item: a stored region, or a shape that is nowhere stored. */
export interface Area {
  item: number;
  region?: number;
  box?: Four;
  polygon?: [number, number][];
}

export type Example = number | Area;

export const itemOf = (example: Example): number => (typeof example === "number" ? example : example.item);
export const isArea = (example: Example): example is Area => typeof example !== "number";

const DIGITS = 4;
const rounded = (value: number): number => Number(value.toFixed(DIGITS));

/** The box to four digits, in which addresses have it; it never reaches out of the picture for that. */
export function fourOf({ x, y, width, height }: Box): Four {
  const [left, top] = [rounded(x), rounded(y)];
  return [left, top, rounded(rounded(x + width) - left), rounded(rounded(y + height) - top)];
}

export const boxOf = ([x, y, width, height]: Four): Box => ({ x, y, width, height });

/** The box of an area that is no stored region. */
export function boxOfArea({ box, polygon }: Area): Box | null {
  if (box) return boxOf(box);
  if (!polygon) return null;
  const [xs, ys] = [polygon.map(([x]) => x), polygon.map(([, y]) => y)];
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y };
}

/** “5”, “5-r7” (a region), “5-b0.1_0.2_0.3_0.4” (a box), “5-p0.1_0.2_…” (the points of a polygon). */
export function writeExample(example: Example): string {
  if (!isArea(example)) return String(example);
  const { item, region, box, polygon } = example;
  if (region !== undefined) return `${item}-r${region}`;
  return box ? `${item}-b${writeNumbers(box)}` : `${item}-p${writeNumbers((polygon ?? []).flat())}`;
}

/** null for what is none. */
export function readExample(written: string): Example | null {
  const [, digits, kind, rest = ""] = /^(\d+)(?:-([rbp])([\d._]+))?$/.exec(written) ?? [];
  const item = Number(digits);
  if (!Number.isInteger(item) || item <= 0) return null;
  if (!kind) return item;
  if (kind === "r") return /^\d+$/.test(rest) ? { item, region: Number(rest) } : null;
  const numbers = readNumbers(rest);
  if (kind === "b") return numbers?.length === 4 ? { item, box: numbers as Four } : null;
  if (!numbers || numbers.length < 6 || numbers.length % 2) return null;
  return {
    item,
    polygon: Array.from({ length: numbers.length / 2 }, (_, at) => [numbers[2 * at]!, numbers[2 * at + 1]!]),
  };
}

export const writeNumbers = (numbers: number[]): string => numbers.map(rounded).join("_");

export function readNumbers(written: string): number[] | null {
  const numbers = written.split("_").map(Number);
  return numbers.every((one) => Number.isFinite(one)) ? numbers : null;
}

export const readExamples = (written: string | null): Example[] =>
  (written ?? "")
    .split(",")
    .map(readExample)
    .filter((one) => one !== null);

export const writeExamples = (examples: Example[]): string => examples.map(writeExample).join(",");

/** Each of them once. */
export const distinct = (examples: Example[]): Example[] => [
  ...new Map(examples.map((one) => [writeExample(one), one])).values(),
];
