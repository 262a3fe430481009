// The settings that a PNG file records: those of this program, or prompts and seed as AUTOMATIC1111's
// web UI records them.

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];

/** The uncompressed texts of a PNG file by key, or null if it is no PNG file. */
function textsOf(bytes) {
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts = new Map();
  const latin = new TextDecoder("latin1");
  for (let at = SIGNATURE.length; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = latin.decode(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    if (name === "IDAT") break;
    const end = data.indexOf(0);
    const key = latin.decode(data.subarray(0, Math.max(end, 0)));
    if (name === "tEXt" && end > 0) texts.set(key, latin.decode(data.subarray(end + 1)));
    if (name === "iTXt" && end > 0 && data[end + 1] === 0) {
      const language = data.indexOf(0, end + 3);
      const translation = data.indexOf(0, language + 1);
      texts.set(key, new TextDecoder().decode(data.subarray(translation + 1)));
    }
    at += 12 + length;
  }
  return texts;
}

/** Settings that say how this program was set up or what it edited, not what it searched for. */
const OF_THE_SYSTEM = ["scorers", "openai", "state_dict", "dtype", "text_dtype", "scorer", "extractor", "edit"];

/** What this program recorded. */
function own(texts) {
  const { method, n, ...more } = JSON.parse(texts.get("ttsvar:settings") ?? "{}");
  for (const name of OF_THE_SYSTEM) delete more[name];
  if (texts.has("ttsvar:negative")) more.negative = texts.get("ttsvar:negative");
  const plan = texts.has("ttsvar:plan") && {
    options: { plan: texts.get("ttsvar:plan"), preview: texts.get("ttsvar:preview") },
    name: { method, n, schedule: more.schedule },
  };
  return { prompt: texts.get("ttsvar:prompt"), seed: texts.get("ttsvar:seed"), method, n, more, plan };
}

/** What the web UI recorded: prompt, negative prompt, and a line of pairs. */
function parameters(text) {
  const [, prompts, pairs] = text.match(/^([^]*?)\n?(Steps: [^\n]*)$/u) ?? [null, text, ""];
  const [, prompt, negative] = prompts.match(/^([^]*?)\n?Negative prompt:([^]*)$/u) ?? [null, prompts];
  const seed = pairs.match(/\bSeed: (\d+)/u)?.[1];
  return {
    prompt: prompt.trim(),
    seed,
    more: negative?.trim() ? { negative: negative.trim() } : {},
  };
}

/**
 * The prompt, the seed, the method with its n, and more options of the search that made an image; and
 * its plan, which options for single stages are part of, with the name that records give it.
 */
export function settingsOf(bytes) {
  const texts = textsOf(bytes);
  if (!texts) throw new Error("this is not a PNG file");
  if (texts.has("ttsvar:prompt")) return own(texts);
  if (texts.has("parameters")) return parameters(texts.get("parameters"));
  throw new Error("this image does not record how it was made");
}
