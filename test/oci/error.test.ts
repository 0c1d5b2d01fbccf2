import t from "tap";
import { errorBody } from "../../src/oci/error.ts";

t.test("one JSON object with one error, detail only when there is one", async (t) => {
  t.equal(
    errorBody("NAME_UNKNOWN", "no such repository"),
    '{"errors":[{"code":"NAME_UNKNOWN","message":"no such repository"}]}',
  );
  t.equal(
    errorBody("TAG_INVALID", 'a "quoted" tag\n', { tag: "x" }),
    '{"errors":[{"code":"TAG_INVALID","message":"a \\"quoted\\" tag\\n","detail":{"tag":"x"}}]}',
  );
  t.equal(errorBody("UNKNOWN", "", null), '{"errors":[{"code":"UNKNOWN","message":"","detail":null}]}');
});
