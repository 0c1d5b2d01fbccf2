// The version of the package, as it stands in package.json.
import { createRequire } from "node:module";

// package.json stands one level above both src and the emitted dist.
export const { version } = createRequire(import.meta.url)("../package.json") as { readonly version: string };
