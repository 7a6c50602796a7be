// Sending many files: in batches, each retried, all into one import job.
import { request } from "../lib/api/client";

export interface Picked {
  file: File;
  /** Relative path inside the dropped folder: the key of the item. */
  path: string;
}

/** What becomes of an item that is in and whose key comes with other content. */
export type Existing = "keep" | "update";

const FILES = 100;
const BYTES = 64 * 2 ** 20;
const TRIES = 3;

/** Batches of up to 100 files or 64 MB; a larger file goes alone. */
export function batches(files: Picked[]): Picked[][] {
  const result: Picked[][] = [];
  let size = 0;
  for (const picked of files) {
    const last = result.at(-1);
    if (last && last.length < FILES && size + picked.file.size <= BYTES) {
      last.push(picked);
      size += picked.file.size;
    } else {
      result.push([picked]);
      size = picked.file.size;
    }
  }
  return result;
}

const SPLITS = new Set(["train", "training", "val", "valid", "validation", "test", "testing"]);

/** Whether the folders tell classes apart: at least two different ones, apart from splits. */
export function foldersAreLabels(paths: string[]): boolean {
  const folders = new Set<string>();
  for (const path of paths) {
    const parts = path
      .split("/")
      .slice(0, -1)
      .filter((part) => !SPLITS.has(part.toLowerCase()));
    if (parts.length) folders.add(parts.join("/"));
  }
  return folders.size > 1;
}

const isTable = (name: string) => /\.(csv|tsv|jsonl|ndjson)$/i.test(name);
const isClutter = (path: string) => /(^|\/)(\.DS_Store|Thumbs\.db|desktop\.ini|__MACOSX)/i.test(path);

/** What a new dataset of these files would hold, and a name for it. */
export function proposal(files: Picked[]): { name: string; modality: "image" | "text" } {
  const first = files[0]?.path ?? "";
  const top = first.includes("/")
    ? first.split("/")[0]!
    : files.length === 1
      ? first.replace(/\.[^.]+$/, "")
      : "my images";
  return {
    name: top,
    modality: files.length > 0 && files.every(({ path }) => isTable(path)) ? "text" : "image",
  };
}

/** Send `files` into `dataset`; `onProgress` hears how many have arrived. Returns the job's id. */
export async function upload(
  dataset: number,
  files: Picked[],
  options: { split?: string; existing?: Existing; onProgress?: (sent: number) => void } = {},
): Promise<number> {
  const groups = batches(files);
  const loose = files.filter(({ path }) => !/\.zip$/i.test(path) && !isTable(path)).map(({ path }) => path);
  const format = loose.length ? (foldersAreLabels(loose) ? "imagefolder" : "images") : "";
  let job = 0;
  let sent = 0;
  for (const [index, group] of groups.entries()) {
    const form = new FormData();
    for (const { file, path } of group) {
      form.append("file", file);
      form.append("path", path);
    }
    if (options.split) form.append("split", options.split);
    if (options.existing) form.append("existing", options.existing);
    if (format) form.append("format", format);
    if (job) form.append("job", String(job));
    if (index < groups.length - 1) form.append("more", "true");
    job = await send(`/api/v1/datasets/${dataset}/imports/`, form);
    sent += group.length;
    options.onProgress?.(sent);
  }
  return job;
}

/** Networks fail for a moment; what the server refuses is not sent again. */
async function send(url: string, form: FormData): Promise<number> {
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await request(url, { method: "POST", body: form });
      return ((await response.json()) as { job: number }).job;
    } catch (error) {
      const status = (error as { status?: number }).status ?? 0;
      if ((status !== 0 && status < 500) || attempt === TRIES) throw error;
      await new Promise((resume) => setTimeout(resume, 1000 * attempt));
    }
  }
}

/** All files of a drop, folders walked through. */
export async function fromDrop(data: DataTransfer): Promise<Picked[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found = await Promise.all(entries.map(walk));
  return found.flat().filter(({ path }) => !isClutter(path));
}

export function fromInput(input: HTMLInputElement): Picked[] {
  return [...(input.files ?? [])]
    .map((file) => ({ file, path: file.webkitRelativePath || file.name }))
    .filter(({ path }) => !isClutter(path));
}

async function walk(entry: FileSystemEntry): Promise<Picked[]> {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) =>
      (entry as FileSystemFileEntry).file(resolve, reject),
    );
    return [{ file, path }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const children: FileSystemEntry[] = [];
  for (;;) {
    // A reader gives some hundred entries at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) =>
      reader.readEntries(resolve, reject),
    );
    if (!some.length) break;
    children.push(...some);
  }
  return (await Promise.all(children.map(walk))).flat();
}
