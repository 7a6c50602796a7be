// The API: typed from the schema, with errors as `Problem` whose message is a sentence to show.
import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

type Schemas = components["schemas"];
export type Dataset = Schemas["Dataset"];
export type Item = Schemas["Item"];
export type ItemDetail = Schemas["ItemDetail"];
export type ItemLabel = Schemas["ItemLabel"];
export type LabelClass = Schemas["LabelClass"];
export type Member = Schemas["Member"];
export type Finding = Schemas["Finding"];
export type Job = Schemas["Job"];
export type Operation = Schemas["Operation"];
export type Statistics = Schemas["Statistics"];
export type SavedSearch = Schemas["SavedSearch"];
export type Space = Schemas["SpaceDetail"];
export type Encoder = Schemas["Encoder"];
export type Comparison = Schemas["Comparison"];
export type Detector = Schemas["Detector"];
export type Layer = Schemas["RegionLayer"];
export type LayerCost = Schemas["Cost"];
export type NewLayer = Schemas["NewLayerRequest"];
export type Region = Schemas["Region"];
export type Prediction = Schemas["Prediction"];
export type Understood = Schemas["Understood"];
export type WhyPart = Schemas["WhyPart"];
export type User = Schemas["User"];
export type HistoryEntry = Schemas["HistoryEntry"];

/** What the server (or the network) said no with. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    detail: string,
  ) {
    super(detail);
  }
}

const csrfToken = () => /(?:^|; )csrftoken=([^;]+)/.exec(document.cookie)?.[1] ?? "";

let onSignedOut: () => void = () => undefined;
/** Called whenever the server says that nobody is signed in. */
export function whenSignedOut(handler: () => void) {
  onSignedOut = handler;
}

/** The response, or a `Problem`. */
export async function checked(response: Response): Promise<Response> {
  if (response.ok || response.status === 304) return response;
  if (response.status === 401 && !response.url.includes("/auth/")) onSignedOut();
  let detail = `The server answered ${response.status}. Try again; if it stays so, look at its log.`;
  if (response.headers.get("Content-Type")?.includes("json")) {
    const body = (await response.json()) as { detail?: string };
    detail = body.detail ?? detail;
  }
  throw new Problem(response.status, detail);
}

const OFFLINE = "The server cannot be reached. Is it running? Nothing was changed.";

/** `fetch` with the session's token on writes, failing with a `Problem`. */
export async function request(url: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (init.method && init.method !== "GET") headers.set("X-CSRFToken", csrfToken());
  let response: Response;
  try {
    response = await fetch(url, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem(0, OFFLINE);
  }
  return checked(response);
}

const token: Middleware = {
  onRequest({ request }) {
    if (request.method !== "GET") request.headers.set("X-CSRFToken", csrfToken());
    return request;
  },
  async onResponse({ response }) {
    return checked(response);
  },
  onError() {
    return new Problem(0, OFFLINE);
  },
};

export const api = createClient<paths>({ baseUrl: "" });
api.use(token);

/** The body of an answer that was checked by the middleware. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}

export function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Do it; what went wrong, as a sentence, or "". */
export async function attempt(act: () => Promise<unknown>): Promise<string> {
  try {
    await act();
    return "";
  } catch (error) {
    return sentence(error);
  }
}
