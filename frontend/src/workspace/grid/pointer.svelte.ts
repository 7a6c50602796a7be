// Clicks and the drag rectangle of the grid, in the coordinates of its content.
import type { Workspace } from "../workspace.svelte";
import type { Side } from "../search/examples";
import { positionsIn, type Layout } from "./geometry";

/** Below this a press is a click, not a drag. */
const CLICK_PX = 5;
/** Near an edge the grid scrolls under a drag. */
const EDGE_PX = 36;
const SCROLL_PX = 14;

interface Surface {
  viewport: HTMLElement;
  layout: () => Layout;
  /** Height in the content of the viewport's upper edge. */
  top: () => number;
}

export class Pointer {
  /** The rectangle being drawn. */
  rectangle = $state.raw<{ left: number; top: number; width: number; height: number } | null>(null);
  #start: { x: number; y: number; keep: number[] } | null = null;
  #last: PointerEvent | null = null;
  #frame = 0;

  constructor(
    private readonly workspace: Workspace,
    private readonly surface: () => Surface,
  ) {}

  down(event: PointerEvent) {
    const { viewport } = this.surface();
    const isOnScrollbar = event.clientX > viewport.getBoundingClientRect().left + viewport.clientWidth;
    if (event.button || event.pointerType === "touch" || isOnScrollbar) return;
    const { selection } = this.workspace;
    const keep = event.shiftKey || event.ctrlKey || event.metaKey ? selection.list() : [];
    this.#start = { ...this.#at(event), keep };
    viewport.setPointerCapture(event.pointerId);
  }

  move(event: PointerEvent) {
    if (!this.#start) return;
    const { x, y } = this.#at(event);
    if (!this.rectangle && Math.hypot(x - this.#start.x, y - this.#start.y) < CLICK_PX) return;
    this.#last = event;
    this.#draw();
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#scroll());
  }

  up(event: PointerEvent) {
    const wasClick = this.#start && !this.rectangle;
    this.#start = this.#last = this.rectangle = null;
    if (wasClick) this.#click(event);
  }

  /** A double click opens an item, but not where single ones do something. */
  double(event: MouseEvent) {
    const { workspace } = this;
    const isAct = event.target instanceof Element && event.target.closest("[data-refine], [data-tick]");
    if (!isAct && workspace.focused !== null) workspace.openLarge(workspace.focused);
  }

  cancel() {
    this.#start = this.#last = this.rectangle = null;
  }

  #click(event: PointerEvent) {
    const element = document.elementFromPoint(event.clientX, event.clientY);
    const option = element?.closest<HTMLElement>("[data-position]");
    if (!option) return;
    const position = Number(option.dataset.position);
    const { workspace } = this;
    const refine = element?.closest<HTMLElement>("[data-refine]");
    if (refine) {
      workspace.toggleExample(workspace.shown.ids[position]!, refine.dataset.refine as Side);
    } else if (event.shiftKey) {
      workspace.selectTo(position);
    } else if (event.ctrlKey || event.metaKey || element?.closest("[data-tick]")) {
      workspace.toggle(position);
      workspace.goTo(position);
    } else {
      workspace.goTo(position);
    }
  }

  #at(event: PointerEvent) {
    const { viewport, top } = this.surface();
    const box = viewport.getBoundingClientRect();
    const { paddingLeft, paddingTop } = getComputedStyle(viewport);
    return {
      x: event.clientX - box.left - Number.parseFloat(paddingLeft),
      y: event.clientY - box.top - Number.parseFloat(paddingTop) + top(),
    };
  }

  #draw() {
    if (!this.#start || !this.#last) return;
    const { x, y } = this.#at(this.#last);
    const start = this.#start;
    this.rectangle = {
      left: Math.min(x, start.x),
      top: Math.min(y, start.y),
      width: Math.abs(x - start.x),
      height: Math.abs(y - start.y),
    };
    const { ids } = this.workspace.shown;
    const touched = positionsIn(this.surface().layout(), start.x, start.y, x, y).map(
      (position) => ids[position]!,
    );
    this.workspace.selection.set([...start.keep, ...touched]);
  }

  #scroll() {
    this.#frame = 0;
    if (!this.#last || !this.rectangle) return;
    const { viewport } = this.surface();
    const box = viewport.getBoundingClientRect();
    const over =
      this.#last.clientY > box.bottom - EDGE_PX ? 1 : this.#last.clientY < box.top + EDGE_PX ? -1 : 0;
    if (over) {
      viewport.scrollTop += over * SCROLL_PX;
      this.#draw();
    }
    this.#frame = requestAnimationFrame(() => this.#scroll());
  }
}
