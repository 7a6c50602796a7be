// A drag over a picture, told in its own coordinates: 0..1.
import type { Vector } from "./shapes";

/** A hand trembles: less is a click. */
const DRAG_FROM_PX = 4;

export type Ending = "dragged" | "clicked" | "canceled";

interface Listener {
  move: (from: Vector, to: Vector) => void;
  end: (how: Ending) => void;
}

export function placeOn(surface: HTMLElement, event: MouseEvent): Vector {
  const { left, top, width, height } = surface.getBoundingClientRect();
  return { x: (event.clientX - left) / width, y: (event.clientY - top) / height };
}

/** Pixels of the screen, in shares of the surface's sides. */
export function reachOn(surface: HTMLElement, pixels: number): Vector {
  const { width, height } = surface.getBoundingClientRect();
  return { x: pixels / width, y: pixels / height };
}

export const difference = (from: Vector, to: Vector): Vector => ({ x: to.x - from.x, y: to.y - from.y });

/** Follow the pointer that has gone down until it is let go. Other buttons than the first are left alone. */
export function follow(event: PointerEvent, surface: HTMLElement, { move, end }: Listener) {
  if (event.button !== 0) return;
  event.stopPropagation();
  const target = event.currentTarget as HTMLElement;
  const from = placeOn(surface, event);
  let isDrag = false;
  target.setPointerCapture(event.pointerId);
  const moved = (next: PointerEvent) => {
    isDrag ||= Math.hypot(next.clientX - event.clientX, next.clientY - event.clientY) >= DRAG_FROM_PX;
    if (isDrag) move(from, placeOn(surface, next));
  };
  const ended = ({ type }: Event) => {
    target.removeEventListener("pointermove", moved);
    target.removeEventListener("pointerup", ended);
    target.removeEventListener("pointercancel", ended);
    end(type === "pointercancel" ? "canceled" : isDrag ? "dragged" : "clicked");
  };
  target.addEventListener("pointermove", moved);
  target.addEventListener("pointerup", ended);
  target.addEventListener("pointercancel", ended);
}
