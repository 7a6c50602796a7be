// Drawing, moving and removing a region: the server first, then the list that everything is drawn from.
import { api, body, sentence, type Region } from "../../lib/api/client";
import { itemRegions, queryClient } from "../../lib/api/queries";
import { toasts } from "../../lib/toast.svelte";
import type { Workspace } from "../workspace.svelte";
import { shapeBody, type Point, type Shape } from "./shapes";

function put(item: number, change: (regions: Region[]) => Region[]) {
  queryClient.setQueryData<Region[]>(itemRegions(item).queryKey, (known) => known && change(known));
}

/** The region as the server has it, or null when it said no: the reason is told. */
export async function draw(item: number, shape: Shape): Promise<Region | null> {
  try {
    const made = await body(
      api.POST("/api/v1/items/{id}/regions/", { params: { path: { id: item } }, body: shapeBody(shape) }),
    );
    put(item, (regions) => [...regions, made]);
    return made;
  } catch (error) {
    toasts.fail(sentence(error));
    return null;
  }
}

/** Give the region another place. What was refused is put back. */
export async function redraw(item: number, id: number, shape: Shape) {
  const before = queryClient.getQueryData<Region[]>(itemRegions(item).queryKey);
  put(item, (regions) => regions.map((one) => (one.id === id ? { ...one, ...shape } : one)));
  try {
    const now = await body(
      api.PATCH("/api/v1/regions/{id}/", { params: { path: { id } }, body: shapeBody(shape) }),
    );
    put(item, (regions) => regions.map((one) => (one.id === id ? now : one)));
    // A detected one that was moved is a drawn one now: its prediction stands by itself.
    if (before?.find((one) => one.id === id)?.kind === "detected")
      await queryClient.invalidateQueries({ queryKey: ["item", item, "predictions"] });
  } catch (error) {
    if (before) put(item, () => before);
    toasts.fail(sentence(error));
  }
}

/** Remove the selected region of the item that is shown large; it can be drawn again from the message. */
export async function removeSelected(workspace: Workspace) {
  const { large: item } = workspace;
  const id = workspace.regions.selected;
  if (item === null || id === null || !workspace.canLabel) return;
  const gone = queryClient.getQueryData<Region[]>(itemRegions(item).queryKey)?.find((one) => one.id === id);
  try {
    await api.DELETE("/api/v1/regions/{id}/", { params: { path: { id } } });
  } catch (error) {
    toasts.fail(sentence(error));
    return;
  }
  workspace.regions.selected = null;
  put(item, (regions) => regions.filter((one) => one.id !== id));
  await queryClient.invalidateQueries({ queryKey: ["item", item, "predictions"] });
  toasts.show({ text: "Removed the region", ...(gone && { undo: () => void drawAgain(item, gone) }) });
}

async function drawAgain(item: number, gone: Region) {
  const again = shapeBody({ ...gone, polygon: gone.polygon as Point[] | null });
  try {
    await api.POST("/api/v1/items/{id}/regions/", { params: { path: { id: item } }, body: again });
    await queryClient.invalidateQueries({ queryKey: ["item", item, "regions"] });
  } catch (error) {
    toasts.fail(sentence(error));
  }
}
