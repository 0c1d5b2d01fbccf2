// Whether this machine, a client's, reaches the registry itself. Neither answer is wrong: who reaches it goes on when the mirror
// is away, over the long link; who does not has the mirror alone. Which of the two holds should be known.
import { plainUpstream, type UpstreamConfig } from "../config/config.ts";
import { checkVersion } from "../upstream/version-check.ts";
import { ok, type Part, skipped } from "./examination.ts";

/** Names that images have, and where their registries answer. */
const hubNames = /^(?:index\.)?docker\.io$/;

/** `host`: that of the image's name; undefined where none is said. */
export async function examineClientWays(
  part: Part,
  mirror: UpstreamConfig,
  host: string | undefined,
): Promise<void> {
  await part.check("registry", async (signal) => {
    if (host === undefined)
      return skipped(
        "which registry clients fall back to is not known: name an image with it, registry/repository:tag",
      );
    if (host === mirror.url.host)
      return skipped(`images are named by the mirror itself (${host}): there is no other way`);
    const url = new URL(`https://${hubNames.test(host) ? "registry-1.docker.io" : host}`);
    const plain = plainUpstream("registry", url);
    const { proxy, connectTimeout, tls } = mirror;
    const trouble = await checkVersion({ ...plain, proxy, connectTimeout, ...caOf(tls) }, signal);
    // Whoever answers, and be it a refusal, is reached.
    if (trouble === undefined || !/^(?:unreachable|timeout|local)$/.test(trouble.code))
      return ok(
        `${url.host} is reached past the mirror: a client that gets no answer here asks it, over the long link (entrepot client-config --no-fallback keeps clients from it)`,
      );
    return ok(
      `${url.host} is not reached past the mirror: a client that gets no answer here pulls nothing (${trouble.message.replace(/^upstream registry /, "")})`,
    );
  });
}

function caOf(tls: UpstreamConfig["tls"]): Pick<UpstreamConfig, "tls"> {
  return tls?.ca === undefined ? {} : { tls: { ca: tls.ca } };
}
