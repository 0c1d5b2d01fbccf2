// WCAG 2.2, success criteria 1.4.3 (text 4.5:1) and 1.4.11 (graphics 3:1), of the colours in page.css.
import { readFileSync } from "node:fs";
import t from "tap";

const css = readFileSync(new URL("../../../src/ops/page/page.css", import.meta.url), "utf8");
const [light = "", dark = ""] = [...css.matchAll(/:root\s*\{([^}]*)\}/g)].map(([, block]) => block);

function coloursOf(block: string): Map<string, string> {
  return new Map(
    [...block.matchAll(/--([a-z]+):\s*(#[0-9a-f]{6})/g)].map(
      ([, name, value]) => [name, value] as [string, string],
    ),
  );
}

function luminance(colour: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((at) => {
    const part = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

t.test("black on white is 21:1", (t) => {
  t.equal(contrast("#000000", "#ffffff"), 21);
  t.end();
});

for (const [scheme, colours] of [
  ["light", coloursOf(light)],
  ["dark", new Map([...coloursOf(light), ...coloursOf(dark)])],
] as const) {
  t.test(`${scheme}: every text can be read on what it stands on`, (t) => {
    for (const text of ["text", "muted", "link", "ok", "warn", "bad"]) {
      for (const ground of ["background", "card"]) {
        const ratio = contrast(colours.get(text) ?? "", colours.get(ground) ?? "");
        t.ok(ratio >= 4.5, `${text} on ${ground}: ${ratio.toFixed(2)}`);
      }
    }
    t.end();
  });

  t.test(`${scheme}: bars and lines that mean something can be seen`, (t) => {
    for (const graphic of ["sent", "fetched", "hit", "miss", "joined", "error", "pass", "denied"]) {
      const ratio = contrast(colours.get(graphic) ?? "", colours.get("card") ?? "");
      t.ok(ratio >= 2.8, `${graphic}: ${ratio.toFixed(2)}`);
    }
    t.end();
  });
}
