// What is outlined over a picture.
import type { ItemLabel, Prediction, Region } from "../../lib/api/client";
import type { Box, Point, Shape } from "./shapes";
import type { Shown } from "./shown.svelte";

export interface Outline extends Shape {
  key: string;
  kind: Shown;
  /** Of the region, or null for a prediction that none was made of. */
  id: number | null;
  /** “person”, or the labels that people gave; “” for what has none. */
  label: string;
  score: number | null;
}

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
      polygon: region.polygon as Point[] | null,
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

/** The outline of something that is being drawn. */
export const drawn = (shape: Shape, label = ""): Outline => ({
  ...shape,
  key: "new",
  kind: "drawn",
  id: null,
  label,
  score: null,
});

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

/** How many outlines there are of each kind. */
export function counted(found: Outline[]): Record<Shown, number> {
  const counts = { drawn: 0, detected: 0, tile: 0, prediction: 0 };
  for (const { kind } of found) counts[kind] += 1;
  return counts;
}

/** People may move and remove those; tiles belong to their grid. */
export const isEditable = ({ kind, id }: Outline): boolean =>
  id !== null && (kind === "drawn" || kind === "detected");

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
