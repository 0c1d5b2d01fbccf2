// The files the page loads, read once at the start: our own from beside this file, uPlot's from its package. Run from
// source, types are stripped as Node itself does; in the built package the same files are JavaScript already.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { gzipSync } from "node:zlib";
import type { PageAssets } from "./page.ts";

export interface Asset {
  readonly type: string;
  readonly body: Buffer;
  readonly gzip: Buffer;
  /** A strong entity tag, quotes included. */
  readonly tag: string;
}

export interface LoadedAssets {
  readonly page: PageAssets;
  /** By path on the listener. */
  readonly files: ReadonlyMap<string, Asset>;
}

const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js";
const javascript = "text/javascript; charset=utf-8";
const css = "text/css; charset=utf-8";

/** Modules by their place below this folder, the one that starts everything first. */
const modules = [
  "browser/live",
  "browser/actions",
  "browser/charts",
  "browser/connection",
  "browser/patch",
  "actions-view",
  "arrange",
  "axis",
  "clients-view",
  "datacenter-view",
  "explain-view",
  "format",
  "health-view",
  "html",
  "icon",
  "lists-view",
  "live-view",
  "lost-view",
  "parts",
  "store-view",
  "savings-view",
  "traffic-view",
];

let loaded: LoadedAssets | undefined;

/** Reads from disk, once; throws the system's error when the installation is not whole. About 40 ms from source. */
export function loadAssets(): LoadedAssets {
  loaded ??= load();
  return loaded;
}

function load(): LoadedAssets {
  const files = new Map<string, Asset>();
  const scripts = modules.map((name) => {
    const path = `/page/${name}${extension}`;
    files.set(path, asset(javascript, moduleText(new URL(`./${name}${extension}`, import.meta.url))));
    return path;
  });
  const fixed: readonly [path: string, type: string, url: string][] = [
    ["/page/page.css", css, new URL("./page.css", import.meta.url).href],
    ["/page/uplot.css", css, import.meta.resolve("uplot/dist/uPlot.min.css")],
    ["/page/uplot.js", javascript, import.meta.resolve("uplot/dist/uPlot.iife.min.js")],
  ];
  for (const [path, type, url] of fixed) files.set(path, asset(type, readFileSync(new URL(url), "utf8")));
  const [module = "", ...imported] = scripts;
  return {
    page: { styles: ["/page/uplot.css", "/page/page.css"], scripts: ["/page/uplot.js"], module, imported },
    files,
  };
}

function moduleText(url: URL): string {
  const text = readFileSync(url, "utf8");
  // Stripping leaves blanks where the types stood.
  return extension === ".ts" ? stripTypeScriptTypes(text).replaceAll(/[ \t]+$/gm, "") : text;
}

function asset(type: string, text: string): Asset {
  const body = Buffer.from(text);
  const tag = `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`;
  return { type, body, gzip: gzipSync(body), tag };
}
