// What is outlined over a picture, and how a box is drawn, moved and resized. All relative to the picture: 0..1.
import type { ItemLabel, Prediction, Region } from "../../lib/api/client";
import { percent } from "../../lib/format";
import type { Shown } from "./shown.svelte";

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Outline extends Box {
  key: string;
  kind: Shown;
  /** Of the region, or null for a prediction that none was made of. */
  id: number | null;
  polygon: number[][] | null;
  /** “person”, or the labels that people gave; “” for what has none. */
  label: string;
  score: number | null;
}

/** Where a box begins that is made by keys. */
export const MIDDLE: Box = { x: 0.3, y: 0.3, width: 0.4, height: 0.4 };

/** Of a side: what is smaller was a click, and nobody could hit it again. */
export const LEAST = 0.005;

/** All regions and predictions of an item, the large ones first, so that small ones lie on top. */
export function outlines(regions: Region[], predictions: Prediction[], labels: ItemLabel[]): Outline[] {
  const said = new Map(predictions.filter(({ region }) => region !== null).map((one) => [one.region, one]));
  const found: Outline[] = regions.map((region) => {
    const { id, kind, x, y, width, height } = region;
    const prediction = said.get(id);
    const names = labels.filter((one) => one.region?.id === id).map(({ label }) => label);
    return {
      ...{ x, y, width, height, id, kind },
      key: `region ${id}`,
      polygon: region.polygon as number[][] | null,
      label: names.join(", ") || (prediction?.label ?? ""),
      score: names.length ? null : (prediction?.score ?? null),
    };
  });
  predictions.forEach(({ region, box, label, score }, at) => {
    if (region !== null || !box) return;
    const [x, y, width, height] = box as [number, number, number, number];
    found.push({
      key: `prediction ${at}`,
      kind: "prediction",
      id: null,
      polygon: null,
      x,
      y,
      width,
      height,
      label,
      score,
    });
  });
  return found.sort((a, b) => b.width * b.height - a.width * a.height);
}

const NAMES: Record<Shown, string> = {
  drawn: "drawn",
  detected: "detected",
  tile: "tile",
  prediction: "prediction",
};

/** “person .98”, “drawn”: what stands at the outline. */
export function tagOf({ kind, label, score }: Outline): string {
  const name = label || NAMES[kind];
  return score === null ? name : `${name} ${scoreOf(score)}`;
}

/** “.98”; 1 is “1.00”. */
export const scoreOf = (score: number): string => score.toFixed(2).replace(/^0/, "");

/** “31 × 56 %” of the picture. */
export const sizeOf = ({ width, height }: Box): string =>
  `${percent(width).replace(" %", "")} × ${percent(height)}`;

/** How many outlines there are of each kind. */
export function counted(found: Outline[]): Record<Shown, number> {
  const counts = { drawn: 0, detected: 0, tile: 0, prediction: 0 };
  for (const { kind } of found) counts[kind] += 1;
  return counts;
}

/** People may move and remove those; tiles belong to their grid, and of a polygon nobody can drag the corners yet. */
export const isEditable = ({ kind, id }: Outline): boolean =>
  id !== null && (kind === "drawn" || kind === "detected");
export const isMovable = (one: Outline): boolean => isEditable(one) && one.polygon === null;

interface Size {
  width: number;
  height: number;
}

/** Where a picture stands in a frame that it is fitted into, in pixels of the frame. */
export function fitted(frame: Size, picture: Size): Box {
  if (!frame.width || !frame.height || !picture.width || !picture.height)
    return { x: 0, y: 0, width: 0, height: 0 };
  const scale = Math.min(frame.width / picture.width, frame.height / picture.height);
  const [width, height] = [picture.width * scale, picture.height * scale];
  return { x: (frame.width - width) / 2, y: (frame.height - height) / 2, width, height };
}

const within = (value: number, least: number, most: number): number => Math.min(Math.max(value, least), most);

/** The box between two corners, as far as it is inside the picture. */
export function between(from: { x: number; y: number }, to: { x: number; y: number }): Box {
  const [left, right] = [from.x, to.x].map((x) => within(x, 0, 1)).sort((a, b) => a - b) as [number, number];
  const [top, bottom] = [from.y, to.y].map((y) => within(y, 0, 1)).sort((a, b) => a - b) as [number, number];
  return { x: left, y: top, width: right - left, height: bottom - top };
}

/** The box elsewhere, within the picture. */
export const moved = ({ x, y, width, height }: Box, by: { x: number; y: number }): Box => ({
  x: within(x + by.x, 0, 1 - width),
  y: within(y + by.y, 0, 1 - height),
  width,
  height,
});

export const CORNERS = ["top left", "top right", "bottom left", "bottom right"] as const;
export type Corner = (typeof CORNERS)[number];

/** The box with one corner dragged, never smaller than it can be hit again. */
export function resized({ x, y, width, height }: Box, corner: Corner, by: { x: number; y: number }): Box {
  let [left, top, right, bottom] = [x, y, x + width, y + height];
  if (corner.endsWith("left")) left = within(left + by.x, 0, right - LEAST);
  else right = within(right + by.x, left + LEAST, 1);
  if (corner.startsWith("top")) top = within(top + by.y, 0, bottom - LEAST);
  else bottom = within(bottom + by.y, top + LEAST, 1);
  return { x: left, y: top, width: right - left, height: bottom - top };
}

const STEP = 0.01;
const ARROWS: Record<string, { x: number; y: number }> = {
  ArrowLeft: { x: -STEP, y: 0 },
  ArrowRight: { x: STEP, y: 0 },
  ArrowUp: { x: 0, y: -STEP },
  ArrowDown: { x: 0, y: STEP },
};

/** The box after an arrow key: moved, or with Shift larger or smaller. null for other keys. */
export function nudged(box: Box, key: string, isShift: boolean): Box | null {
  const by = ARROWS[key];
  if (!by) return null;
  return isShift ? resized(box, "bottom right", by) : moved(box, by);
}
