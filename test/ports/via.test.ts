import t from "tap";
import { makePseudonym, viaOf } from "../../src/ports/via.ts";

t.test("another mirror has another name", async (t) => {
  t.not(makePseudonym(), makePseudonym());
  t.equal(viaOf("b", "1.0 a"), "1.0 a, 1.1 b");
});
