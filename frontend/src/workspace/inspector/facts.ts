// What is known of an item, as pairs of a name and a value.
import type { ItemDetail } from "../../lib/api/client";
import { bytes, percent, plural, time } from "../../lib/format";

const SHOWN_COLORS = 3;
/** Less of a colour is not worth a word. */
const LEAST_SHARE = 0.05;

export function facts(item: ItemDetail): [string, string][] {
  const found: [string, string][] = Object.entries(item.metadata).map(([key, value]) => [key, shown(value)]);
  const { quality } = item;
  if (quality) {
    for (const measure of ["brightness", "contrast", "sharpness"] as const)
      found.push([measure, quality[measure].toFixed(2)]);
    const colors = Object.entries(quality.colors)
      .filter(([, share]) => share >= LEAST_SHARE)
      .sort(([, a], [, b]) => b - a)
      .slice(0, SHOWN_COLORS);
    if (colors.length)
      found.push(["colours", colors.map(([name, share]) => `${name} ${percent(share)}`).join(" · ")]);
  }
  if (item.size_bytes) found.push(["size", bytes(item.size_bytes)]);
  found.push(["imported", time(item.created_at)]);
  return found;
}

const shown = (value: unknown): string => (typeof value === "object" ? JSON.stringify(value) : String(value));

/** “640 × 480 · train · to do”. */
export function summary(item: Pick<ItemDetail, "width" | "height" | "split" | "status" | "text">): string {
  const words = item.text?.split(/\s+/).filter(Boolean).length;
  return [
    item.width ? `${item.width} × ${item.height}` : "",
    item.split,
    { todo: "to do", done: "done", excluded: "excluded" }[item.status],
    words === undefined ? "" : plural(words, "word"),
  ]
    .filter(Boolean)
    .join(" · ");
}
