// Keeps the page up to date: the stream of events while the page is seen, asking now and then where there is none, and for the
// icon while it is not seen.
import type { Explanation, StatsDocument } from "../../stats/stats-document.ts";
import { outcomeId } from "../actions-view.ts";
import { arrange, type Order } from "../arrange.ts";
import { explanationView } from "../explain-view.ts";
import { icon } from "../icon.ts";
import { liveView } from "../live-view.ts";
import { lostView } from "../lost-view.ts";
import { listenToActions } from "./actions.ts";
import { createCharts } from "./charts.ts";
import { Connection } from "./connection.ts";
import { make, patch } from "./patch.ts";

type Range = keyof StatsDocument["traffic"]["series"];

/** Milliseconds between two questions where streams are not to be had, and while nobody sees the page but for its icon. */
const pollInterval = 5_000;
const hiddenInterval = 30_000;
const ranges: readonly (readonly [Range, string])[] = [
  ["minute", "1 min"],
  ["hour", "1 h"],
  ["day", "24 h"],
];

/** The address of a path on the listener, which this module knows from its own: a proxy may serve both below some path. */
function address(path: string): URL {
  return new URL(`../../${path}`, import.meta.url);
}

const charts = createCharts();
/** What the address of the page says: whoever it is sent to sees the same. */
const asked = new URLSearchParams(location.search);
const node = new Connection(Date.now());
let range: Range = ranges.find(([value]) => value === asked.get("range"))?.[0] ?? "hour";
const orders = new Map<string, Order>();
let last: StatsDocument | undefined;
let stream: EventSource | undefined;
let polling: ReturnType<typeof setTimeout> | undefined;

function show(document_: StatsDocument): void {
  last = document_;
  node.heard(Date.now());
  document.body.classList.remove("lost");
  document.getElementById("icon")?.setAttribute("href", icon(document_.verdict.level));
  const live = document.getElementById("live");
  if (live !== null) patch(live, arrange(liveView(document_), { filter: asked.get("filter") ?? "", orders }));
  charts.show(document_, range);
}

/** Puts it into the address; "" takes it out. */
function remember(name: string, value: string): void {
  if (value === "") asked.delete(name);
  else asked.set(name, value);
  history.replaceState(null, "", asked.size === 0 ? location.pathname : `?${asked}`);
}

/** The page and its icon turn red when the node is not heard of. */
function watchNode(): void {
  const silent = node.lostFor(Date.now());
  const verdict = document.getElementById("verdict");
  if (silent === undefined || verdict === null) return;
  patch(verdict, lostView(silent));
  document.body.classList.add("lost");
  document.getElementById("icon")?.setAttribute("href", icon("down"));
}

function failed(): void {
  node.failed();
  watchNode();
  connection("connection lost, trying again", "lost");
}

function connection(text: string, state: "live" | "lost"): void {
  const place = document.getElementById("connection");
  if (place === null) return;
  if (place.textContent !== text) place.textContent = text;
  place.className = state;
}

function watch(): void {
  stream?.close();
  clearTimeout(polling);
  node.begins(Date.now(), document.hidden ? hiddenInterval : pollInterval);
  if (document.hidden) {
    polling = setTimeout(() => void poll(), hiddenInterval);
    return;
  }
  const source = new EventSource(address("stats/events"));
  stream = source;
  source.onmessage = ({ data }: MessageEvent<string>) => {
    show(JSON.parse(data) as StatsDocument);
    connection("live", "live");
  };
  source.onerror = () => {
    failed();
    // Refused: too many viewers, or the node is draining. Browsers do not try that again.
    if (source.readyState === EventSource.CLOSED) void poll();
  };
}

async function poll(): Promise<void> {
  clearTimeout(polling);
  try {
    const answer = await fetch(address("api/v1/stats"));
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    show((await answer.json()) as StatsDocument);
    connection(`every ${pollInterval / 1000} s`, "live");
  } catch {
    failed();
  }
  polling = setTimeout(() => void poll(), document.hidden ? hiddenInterval : pollInterval);
}

function addRangePicker(): void {
  const picker = document.createElement("fieldset");
  picker.id = "range";
  picker.append(make({ tag: "legend", attributes: {}, children: ["Charts over"] }));
  for (const [value, words] of ranges) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: "range", value, checked: value === range });
    input.addEventListener("change", () => {
      range = value;
      remember("range", value);
      if (last !== undefined) charts.show(last, range);
    });
    label.append(input, ` ${words}`);
    picker.append(label);
  }
  document.querySelector("header")?.append(picker);
}

function addFilter(): void {
  const label = document.createElement("label");
  label.id = "filter";
  const input = document.createElement("input");
  Object.assign(input, { type: "search", value: asked.get("filter") ?? "", maxLength: 200, size: 16 });
  input.addEventListener("input", () => {
    remember("filter", input.value.trim());
    if (last !== undefined) show(last);
  });
  label.append("Filter ", input);
  document.querySelector("header")?.append(label);
}

/** Once for all buttons: those of tables come and go. */
function listenToButtons(): void {
  document.documentElement.classList.add("scripted");
  document.addEventListener("click", ({ target }) => {
    if (!(target instanceof HTMLButtonElement)) return;
    if (target.className === "copy") copy(target);
    const { table, column } = target.dataset;
    if (table === undefined || column === undefined || last === undefined) return;
    const before = orders.get(table);
    orders.set(table, { column: Number(column), down: before?.column !== Number(column) || !before.down });
    show(last);
  });
}

/** By selecting it: the clipboard itself is only for pages that came over TLS. */
function copy(button: HTMLButtonElement): void {
  const text = button.parentElement?.querySelector("code");
  if (!text) return;
  getSelection()?.selectAllChildren(text);
  if (document.execCommand("copy")) button.textContent = "Copied";
}

function explainInPlace(): void {
  const form = document.getElementById("explain-form");
  const place = document.getElementById("explanation");
  if (!(form instanceof HTMLFormElement) || place === null) return;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const reference = String(new FormData(form).get("explain") ?? "").trim();
    remember("explain", reference);
    document.getElementById(outcomeId)?.replaceChildren();
    void explain(reference, place);
  });
  listenToActions({
    address,
    changed: () => {
      const reference = asked.get("explain")?.trim();
      if (reference) void explain(reference, place);
    },
  });
}

async function explain(reference: string, place: HTMLElement): Promise<void> {
  try {
    const answer = await fetch(address(`api/v1/why?reference=${encodeURIComponent(reference)}`));
    const said = (await answer.json()) as Explanation | { readonly error: { readonly message: string } };
    // Another image was asked for meanwhile.
    if (reference !== (asked.get("explain")?.trim() ?? "")) return;
    if ("error" in said) return place.replaceChildren(said.error.message);
    const shown = place.firstElementChild;
    const wanted = explanationView(said, reference);
    // The button that was pressed keeps the focus.
    if (shown === null) place.replaceChildren(make(wanted));
    else patch(shown, wanted);
  } catch (error) {
    place.replaceChildren(`That could not be explained: ${String(error)}`);
  }
}

addRangePicker();
addFilter();
listenToButtons();
explainInPlace();
document.addEventListener("visibilitychange", watch);
setInterval(watchNode, 1_000);
watch();
