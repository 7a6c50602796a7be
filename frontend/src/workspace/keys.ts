// What each key does in the workspace.
import { actionOf, isTyping, type Action } from "../lib/keyboard";
import { router } from "../lib/router.svelte";
import type { Acts } from "./actions/acts";
import { moved, type Layout } from "./grid/geometry";
import { removeSelected } from "./regions/acts";
import type { Form } from "./regions/shown.svelte";
import type { Workspace } from "./workspace.svelte";

interface Reach {
  workspace: Workspace;
  acts: Acts;
  /** Where tiles stand now: up and down depend on it. */
  layout: () => Layout;
  focusSearch: () => void;
}

const DIRECTIONS = { left: "left", right: "right", up: "up", down: "down" } as const;
const isDirection = (action: Action): action is keyof typeof DIRECTIONS => action in DIRECTIONS;

/** Examples that a more-like or less-like takes from a selection. */
const EXAMPLES_AT_MOST = 50;

/** Keys that what has the browser's focus keeps for itself. */
const PRESSES = new Set(["Enter", " "]);
const STEPS = new Set([
  "ArrowLeft",
  "ArrowRight",
  "ArrowUp",
  "ArrowDown",
  "Home",
  "End",
  "PageUp",
  "PageDown",
]);
const isOwn = ({ key, target }: KeyboardEvent) =>
  target instanceof Element &&
  ((PRESSES.has(key) && target.closest("button, a") !== null) ||
    (STEPS.has(key) && target.closest("input, [role=slider]") !== null));

export function onKey(event: KeyboardEvent, reach: Reach) {
  const { workspace, acts } = reach;
  if (
    workspace.panel ||
    event.defaultPrevented ||
    document.querySelector("[data-dialog-content], [role=menu]")
  )
    return;
  if (isOwn(event)) return;
  const action = actionOf(event);
  if (action) {
    event.preventDefault();
    run(action, event.shiftKey, reach);
    return;
  }
  if (isTyping(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  const label = workspace.classes.data?.find(
    ({ shortcut }) => shortcut && shortcut === event.key.toLowerCase(),
  );
  if (label) {
    event.preventDefault();
    void acts.label(label);
  }
}

function run(action: Action, isExtending: boolean, { workspace, acts, layout, focusSearch }: Reach) {
  const { example } = workspace;
  const chosen = () => {
    const selected = workspace.selection.count ? workspace.selection.list().slice(0, EXAMPLES_AT_MOST) : [];
    return selected.length ? selected : example === null ? [] : [example];
  };
  if (isDirection(action)) {
    const isLarge = workspace.large !== null;
    const sideways = { left: "left", right: "right", up: "left", down: "right" } as const;
    move(workspace, moved(layout(), workspace.focus, isLarge ? sideways[action] : action), isExtending);
    return;
  }
  switch (action) {
    case "search":
      return focusSearch();
    case "similar":
      return workspace.findSimilar(example === null ? [] : [example]);
    case "more":
      return workspace.refine(chosen(), "like");
    case "less":
      return workspace.refine(chosen(), "unlike");
    case "cut":
      return workspace.toggleSuggestedCut();
    case "home":
      return move(workspace, 0, isExtending);
    case "end":
      return move(workspace, workspace.shown.ids.length - 1, isExtending);
    case "select":
      return workspace.focused === null ? undefined : workspace.toggle(workspace.focus);
    case "selectAll":
      return workspace.selectAll();
    case "back":
      return back(workspace);
    case "palette":
      return open(workspace, "palette");
    case "tag":
      return open(workspace, "tags");
    case "exclude":
      return void acts.exclude();
    case "done":
      return void acts.status("done");
    case "undo":
      return void acts.undo();
    case "large":
      // The picture that it is for may still be on its way.
      if (workspace.regions.act) return;
      return workspace.openLarge(workspace.large === null ? workspace.focused : null);
    case "box":
    case "polygon":
      return take(workspace, action);
    case "area":
      return markArea(workspace);
    case "review":
      if (!labelRegions(workspace)) router.go(`/datasets/${workspace.id}/review`);
      return;
    case "remove":
      return void removeSelected(workspace);
    case "history":
    case "keys":
      workspace.panel = action;
  }
}

function move(workspace: Workspace, position: number, isExtending: boolean) {
  if (!workspace.shown.ids.length) return;
  if (isExtending) workspace.selectTo(position);
  else workspace.goTo(position);
  if (workspace.large !== null && workspace.focused !== null) workspace.openLarge(workspace.focused);
}

function open(workspace: Workspace, panel: "palette" | "tags") {
  if (workspace.canLabel && workspace.target.count) workspace.panel = panel;
}

/** Whoever may not draw can still mark. */
function take({ large, isText, canLabel, regions }: Workspace, form: Form) {
  if (large !== null && !isText && (canLabel || regions.act === "mark")) regions.take(form);
}

function markArea({ large, isText, regions }: Workspace) {
  if (large !== null && !isText) regions.mark();
}

/** Whether there were any to be labelled. */
function labelRegions(workspace: Workspace): boolean {
  const hasSome = workspace.canLabel && workspace.selection.count > 0 && workspace.regionTarget.count > 0;
  if (hasSome) workspace.labelsRegions = !workspace.labelsRegions;
  return hasSome;
}

/** One step: out of drawing or marking, of the chosen region, of the large view, of the selection, of the query. */
function back(workspace: Workspace) {
  const { regions } = workspace;
  if (regions.act) regions.stop();
  else if (regions.selected !== null) regions.selected = null;
  else if (workspace.large !== null) workspace.openLarge(null);
  else if (workspace.selection.count) workspace.clearSelection();
  else if (!workspace.isAll) workspace.clear();
}
