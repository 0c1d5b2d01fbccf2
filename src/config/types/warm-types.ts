// What is written in schedules: images, patterns over their tags, and times.
import { Cron } from "croner";
import { parseImageName, referenceOf } from "../../oci/image-name.ts";
import { parseNameGlob } from "../glob.ts";
import type { Parsed } from "../units.ts";

/** A reference as clients pull it, or a pattern over the tags of one repository; 1 to 512 characters. */
export function parseWarmImage(written: string): Parsed<string> {
  const value = written.trim();
  const name = value.length <= 512 ? parseImageName(value) : undefined;
  if (name === undefined)
    return { expected: "a reference such as team/app:1.0, or with a pattern over tags, team/app:1.*" };
  if (referenceOf(name) !== undefined || name.tag === undefined) return { value };
  const glob = parseNameGlob(name.tag, "tags, such as 1.*");
  return "value" in glob ? { value } : glob;
}

/** Five fields of cron, or six with seconds before them; 1 to 128 characters. */
export function parseCron(written: string): Parsed<string> {
  const value = written.trim();
  try {
    if (value.length > 128 || !/^\S+(?:\s+\S+){4,5}$/.test(value)) throw new Error("no cron");
    // Without a function to call it keeps no time.
    new Cron(value);
    return { value };
  } catch {
    return { expected: "times by cron: minute, hour, day, month, day of the week, such as 0 5 * * 1-5" };
  }
}
