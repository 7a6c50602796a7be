// Which regions are outlined over pictures, which one is selected, and whether one is being drawn.

import type { Shape } from "./shapes";

/** What can be outlined: regions by who made them, and predictions that no region was made of. */
export type Shown = "drawn" | "detected" | "tile" | "prediction";

/** What is drawn. */
export type Form = "box" | "polygon";

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
  /** Regions are being drawn, or an area is being marked to search with, which is not stored. */
  act = $state<"draw" | "mark" | null>(null);
  form = $state<Form>("box");
  /** What is marked. */
  area = $state.raw<Shape | null>(null);

  turn(kind: Shown, isOn: boolean) {
    this.kinds[kind] = isOn;
    const on = Object.entries(this.kinds).filter(([, isShown]) => isShown);
    localStorage.setItem(KEPT, on.map(([name]) => name).join(","));
  }

  /** Draw this form, or stop; what is being marked becomes of this form. */
  take(form: Form) {
    if (this.act === "draw" && this.form === form) return this.stop();
    this.act ??= "draw";
    this.form = form;
    this.area = null;
  }

  /** Mark an area, first a box; or stop. */
  mark() {
    const isOn = this.act !== "mark";
    this.stop();
    if (!isOn) return;
    this.act = "mark";
    this.form = "box";
  }

  stop() {
    this.act = null;
    this.area = null;
  }

  /** Nothing is selected, nothing drawn: another item is shown. */
  leave() {
    this.selected = null;
    this.stop();
  }
}
