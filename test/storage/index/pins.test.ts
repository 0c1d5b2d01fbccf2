import t from "tap";
import type { Repository } from "../../../src/oci/name.ts";
import { openIndex } from "../../../src/storage/index/sqlite-index.ts";
import { digestOf } from "../../fixtures/blob-store-suite.ts";
import { pinStoreSuite } from "../../fixtures/pin-store-suite.ts";

t.test("the suite of every PinStore", (t) =>
  pinStoreSuite(t, async (t) => {
    // Registered before the directory, whose own removal would otherwise come first.
    let close = (): void => {};
    t.teardown(() => close());
    const index = openIndex({ directory: t.testdir(), clock: Date.now });
    close = () => index.close();
    return index;
  }),
);

t.test("pins survive a stop, and hold at once", async (t) => {
  const directory = t.testdir();
  const image = { upstream: "hub", repository: "team/app" as Repository, reference: "1.0" };
  const layer = digestOf(Buffer.from("layer"));
  const first = openIndex({ directory, clock: () => 10 });
  first.pins.command([{ ...image, pinned: true, at: 10 }], 10);
  first.blobs.add(layer, 5_000_000, undefined, 1);
  first.pins.hold(image, [{ digest: layer, size: 5_000_000 }], layer);
  first.close();
  const second = openIndex({ directory, clock: () => 20 });
  t.teardown(() => second.close());
  t.strictSame(second.pins.commands(), [{ ...image, pinned: true, at: 10 }]);
  t.strictSame(second.pins.held(), [{ ...image, digest: layer }]);
  t.same(second.blobs.leastWorth("large", 10), []);
});
