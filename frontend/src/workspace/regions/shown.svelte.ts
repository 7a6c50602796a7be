// Which regions are outlined over pictures, which one is selected, and whether one is being drawn.

import type { Box } from "./outlines";

/** What can be outlined: regions by who made them, and predictions that no region was made of. */
export type Shown = "drawn" | "detected" | "tile" | "prediction";

const KEPT = "regions-shown";
const FIRST: Record<Shown, boolean> = { drawn: true, detected: true, tile: false, prediction: false };

function kept(): Record<Shown, boolean> {
  const said = localStorage.getItem(KEPT)?.split(",");
  if (!said) return FIRST;
  return Object.fromEntries(Object.keys(FIRST).map((kind) => [kind, said.includes(kind)])) as typeof FIRST;
}

export class RegionsShown {
  kinds = $state(kept());
  /** Of the item that is shown large. */
  selected = $state<number | null>(null);
  isDrawing = $state(false);
  /** An area is being marked to search with, which is not stored; and where it is. */
  isMarking = $state(false);
  area = $state.raw<Box | null>(null);

  turn(kind: Shown, isOn: boolean) {
    this.kinds[kind] = isOn;
    const on = Object.entries(this.kinds).filter(([, isShown]) => isShown);
    localStorage.setItem(KEPT, on.map(([name]) => name).join(","));
  }

  draw(isOn: boolean) {
    this.mark(false);
    this.isDrawing = isOn;
  }

  mark(isOn: boolean) {
    this.isDrawing = false;
    this.isMarking = isOn;
    this.area = null;
  }

  /** Nothing is selected, nothing drawn: another item is shown. */
  leave() {
    this.selected = null;
    this.isDrawing = false;
    this.mark(false);
  }
}
