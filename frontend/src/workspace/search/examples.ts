// The examples of a search: whole items, and areas of them. As they stand in the address and in the API's bodies.
import { around, type Point, type Shape } from "../regions/shapes";

/** x, y, width, height, relative to the picture: 0..1. */
export type Four = [number, number, number, number];

/** A part of a picture: one of the two. */
export interface Part {
  box?: Four;
  polygon?: Point[];
}

/** An area of an image item: a stored region, or a part that is nowhere stored. */
export interface Area extends Part {
  item: number;
  region?: number;
}

export type Example = number | Area;

/** Of a search: what is to be more like it, and what less. */
export type Side = "like" | "unlike";

export const itemOf = (example: Example): number => (typeof example === "number" ? example : example.item);
export const isArea = (example: Example): example is Area => typeof example !== "number";

const DIGITS = 4;
const rounded = (value: number): number => Number(value.toFixed(DIGITS));

/** The shape to four digits, in which addresses have it; it never reaches out of the picture for that. */
export function partOf({ x, y, width, height, polygon }: Shape): Part {
  if (polygon) return { polygon: polygon.map(([a, b]) => [rounded(a), rounded(b)]) };
  const [left, top] = [rounded(x), rounded(y)];
  return { box: [left, top, rounded(rounded(x + width) - left), rounded(rounded(y + height) - top)] };
}

/** Where it lies; null for a stored region, which is known by its id. */
export function shapeOf({ box, polygon }: Part): Shape | null {
  if (polygon) return around(polygon);
  if (!box) return null;
  const [x, y, width, height] = box;
  return { x, y, width, height, polygon: null };
}

/** “5”, “5-r7” (a region), “5-b0.1_0.2_0.3_0.4” (a box), “5-p0.1_0.2_…” (the points of a polygon). */
export function writeExample(example: Example): string {
  if (!isArea(example)) return String(example);
  const { item, region, box, polygon } = example;
  if (region !== undefined) return `${item}-r${region}`;
  return box ? `${item}-b${writeBox({ box })}` : `${item}-p${writePolygon({ polygon: polygon ?? [] })}`;
}

/** null for what is none. */
export function readExample(written: string): Example | null {
  const [, digits, kind, rest = ""] = /^(\d+)(?:-([rbp])([\d._]+))?$/.exec(written) ?? [];
  const item = Number(digits);
  if (!Number.isInteger(item) || item <= 0) return null;
  if (!kind) return item;
  if (kind === "r") return /^\d+$/.test(rest) ? { item, region: Number(rest) } : null;
  const part = kind === "b" ? readBox(rest) : readPolygon(rest);
  return part && { item, ...part };
}

const writeNumbers = (numbers: number[]): string => numbers.map(rounded).join("_");

export const writeBox = ({ box }: Part): string => (box ? writeNumbers(box) : "");
export const writePolygon = ({ polygon }: Part): string => (polygon ? writeNumbers(polygon.flat()) : "");

/** “0.1_0.2_0.3_0.4”; null for what is no box. */
export function readBox(written: string): Part | null {
  const numbers = readNumbers(written);
  return numbers?.length === 4 ? { box: numbers as Four } : null;
}

/** “0.1_0.2_…”, the points one after another; null for what is no polygon. */
export function readPolygon(written: string): Part | null {
  const numbers = readNumbers(written);
  if (!numbers || numbers.length < 6 || numbers.length % 2) return null;
  const points = numbers.length / 2;
  return { polygon: Array.from({ length: points }, (_, at) => [numbers[2 * at]!, numbers[2 * at + 1]!]) };
}

function readNumbers(written: string): number[] | null {
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
