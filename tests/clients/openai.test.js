// OpenAI's SDK for Node, as its users call it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import OpenAI, { toFile } from "openai";

const client = new OpenAI({
  baseURL: `${process.env.TTSVAR_ADDRESS}/v1`,
  apiKey: process.env.TTSVAR_TOKEN,
});
const PNG = [0x89, 0x50, 0x4e, 0x47];

test("the model is found", async () => {
  const model = await client.models.retrieve("demo");
  assert.equal(model.id, "demo");
  await assert.rejects(client.models.retrieve("other"), OpenAI.NotFoundError);
});

test("the same seed gives the same image", async () => {
  const request = { model: "demo", prompt: "a red circle", n: 1, seed: 7, search: { method: "raw" } };
  const images = [];
  for (let i = 0; i < 2; i += 1) {
    const response = await client.images.generate(request);
    images.push(Buffer.from(response.data[0].b64_json, "base64"));
  }
  assert.deepEqual([...images[0].subarray(0, 4)], PNG);
  assert.ok(images[0].equals(images[1]));
});

test("images are edited and streamed", async () => {
  const search = { method: "best-of-n", n: 2 };
  const request = { model: "demo", prompt: "a red circle", seed: 7, search };
  const streamed = [];
  for await (const event of await client.images.generate({ ...request, stream: true, partial_images: 1 }))
    streamed.push(event);
  assert.deepEqual(
    streamed.map((event) => event.type),
    ["image_generation.partial_image", "image_generation.completed"],
  );
  const image = Buffer.from(streamed.at(-1).b64_json, "base64");
  // The lower half is white: a bitmap of the same size, which the SDK sends as a file.
  const mask = readFileSync(new URL("mask.png", import.meta.url));
  const edit = await client.images.edit({
    ...request,
    prompt: "a red circle above a blue star",
    image: await toFile(image, "image.png", { type: "image/png" }),
    mask: await toFile(mask, "mask.png", { type: "image/png" }),
  });
  const edited = Buffer.from(edit.data[0].b64_json, "base64");
  assert.deepEqual([...edited.subarray(0, 4)], PNG);
  assert.ok(!edited.equals(image));
});

test("a wrong token is refused", async () => {
  const stranger = client.withOptions({ apiKey: "another-token", maxRetries: 0 });
  await assert.rejects(stranger.images.generate({ model: "demo", prompt: "a ring" }), (error) => [401, 403].includes(error.status));
});
