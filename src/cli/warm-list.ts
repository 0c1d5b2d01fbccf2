// Which images `entrepot warm` is asked for: on the command line, in a file, in manifests of Kubernetes.
import { parseAllDocuments } from "yaml";
import { parseImageName, referenceOf } from "../oci/image-name.ts";

/** Objects and lists in one file of manifests that are looked into; how deep. */
const maxValues = 200_000;
const maxDepth = 64;
/** Aliases a YAML document may make of one anchor: more is an attack ("billion laughs"). */
const maxAliases = 100;

/** Members of a pod's specification that are lists of containers. */
const containerLists = new Set(["containers", "initContainers", "ephemeralContainers"]);

/** A list as people keep it: a reference a line; `#` begins a comment at the beginning of a line or after a blank. */
export function imagesInList(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.replace(/(^|\s)#.*$/, "").trim())
    .filter((line) => line !== "");
}

/**
 * The images of all containers in a file of YAML documents, in whatever kind of object they stand (Deployments, CronJobs,
 * lists, resources of operators), each once, as the kubelet asks for them: a name without a registry is Docker Hub's. Throws an
 * Error that names the line of what cannot be read.
 */
export function imagesInManifests(text: string): string[] {
  const found = new Set<string>();
  let left = maxValues;
  const look = (value: unknown, depth: number): void => {
    if (typeof value !== "object" || value === null) return;
    if (depth > maxDepth || left-- <= 0) throw new Error("it is too large, or nests too deep");
    if (Array.isArray(value)) {
      for (const item of value) look(item, depth + 1);
      return;
    }
    for (const [key, member] of Object.entries(value)) {
      if (containerLists.has(key) && Array.isArray(member))
        for (const container of member as readonly unknown[]) {
          const image = (container as { readonly image?: unknown } | null)?.image;
          if (typeof image === "string" && image.trim() !== "") found.add(asKubelet(image.trim()));
        }
      look(member, depth + 1);
    }
  };
  for (const document of parseAllDocuments(text)) {
    const [error] = document.errors;
    if (error !== undefined) throw new Error(error.message.split("\n", 1)[0]);
    look(document.toJS({ maxAliasCount: maxAliases }), 0);
  }
  return [...found];
}

/** The full name of an image (distribution/reference, ParseNormalizedNamed); what is no name stays as it is. */
function asKubelet(image: string): string {
  const name = parseImageName(image);
  if (name === undefined || name.host !== undefined || referenceOf(name) === undefined) return image;
  return name.repository.includes("/") ? `docker.io/${image}` : `docker.io/library/${image}`;
}
