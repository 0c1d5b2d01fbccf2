// What somebody may have meant by a key that is no setting.
import { nearest } from "./nearest.ts";
import { settingKeys } from "./settings.ts";

/** Keys with keys of their own below them: `upstream`, `upstream.tls`. */
export const sections: ReadonlySet<string> = new Set(settingKeys.flatMap(sectionsAbove));
/** The key of the list of upstreams, each with the settings below `upstream`. */
export const upstreamList = "upstreams";

/** A setting of the same name in another section, else what is spelt most alike in this one ("" is the whole file). */
export function suggestKey(name: string, section: string): string | undefined {
  const same = settingKeys.filter((key) => lastOf(key).toLowerCase() === name.toLowerCase());
  const [moved] = same.toSorted((a, b) => a.split(".").length - b.split(".").length);
  if (moved !== undefined) return moved;
  const all = [...settingKeys, ...sections, upstreamList];
  const near = nearest(name, all.filter((key) => sectionOf(key) === section).map(lastOf));
  return near === undefined || section === "" ? near : `${section}.${near}`;
}

function sectionsAbove(key: string): string[] {
  const section = sectionOf(key);
  return section === "" ? [] : [...sectionsAbove(section), section];
}

function sectionOf(key: string): string {
  return key.slice(0, Math.max(0, key.lastIndexOf(".")));
}

function lastOf(key: string): string {
  return key.slice(key.lastIndexOf(".") + 1);
}
