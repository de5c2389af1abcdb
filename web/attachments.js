// Files that go with a message: pictures made smaller, PDFs, texts.

import { newId } from "./api.js";

const MOST_BYTES = 100 * 1024 * 1024; // of a picture before it is made smaller
const MOST_PDF = 20 * 1024 * 1024;
const MOST_TEXT = 1024 * 1024;
const EDGE = 1568; // pixels; models see no more of a picture
const AS_IT_IS = 1.5 * 1024 * 1024;
const SENT_AS_IT_IS = ["image/png", "image/jpeg", "image/webp", "image/gif"];

/** A message that says why a file cannot be attached. */
export class Unusable extends Error {}

/**
 * @param {File|Blob} file
 * @returns {Promise<{attachment: import("./conversation.js").Attachment, blob: Blob}>}
 * @throws {Unusable}
 */
export async function take(file, name = file.name || "pasted") {
  if (file.type.startsWith("image/") && file.type !== "image/svg+xml") return told(name, "image", await picture(file, name));
  if (file.type === "application/pdf" || /\.pdf$/i.test(name)) return told(name, "pdf", await pdf(file, name));
  return told(name, "text", await text(file, name));
}

function told(name, kind, blob) {
  return { attachment: { id: newId(), name, type: blob.type, size: blob.size, kind }, blob };
}

/** The bytes, read now: the file may vanish before the message is sent. */
async function bytesOf(file, name, most) {
  if (file.size > most) throw new Unusable(`${name} is too large: ${sizeOf(file.size)}, where ${sizeOf(most)} can be attached.`);
  let bytes;
  try {
    bytes = await file.arrayBuffer();
  } catch {
    throw new Unusable(`${name} cannot be read any more. It may have been moved, changed or deleted.`);
  }
  if (!bytes.byteLength) throw new Unusable(`${name} is empty.`);
  return bytes;
}

async function picture(file, name) {
  const blob = new Blob([await bytesOf(file, name, MOST_BYTES)], { type: file.type });
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new Unusable(`${name} cannot be shown: it is damaged, or a kind of picture that this browser does not know.`);
  }
  const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && blob.size <= AS_IT_IS && SENT_AS_IT_IS.includes(blob.type)) return blob;
  return smaller(bitmap, scale, blob.type, name);
}

async function smaller(bitmap, scale, type, name) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  const draw = () => context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  draw();
  if (type === "image/png") {
    const png = await encoded(canvas, "image/png");
    if (png && png.size <= AS_IT_IS) return png;
    context.fillStyle = "#fff"; // JPEG has no transparency
    context.fillRect(0, 0, canvas.width, canvas.height);
    draw();
  }
  const jpeg = await encoded(canvas, "image/jpeg", 0.85);
  if (!jpeg) throw new Unusable(`${name} is too large a picture for this browser.`);
  return jpeg;
}

function encoded(canvas, type, quality) {
  return new Promise((resolve) => canvas.toBlob(resolve, type, quality));
}

async function pdf(file, name) {
  const bytes = await bytesOf(file, name, MOST_PDF);
  const head = new TextDecoder("latin1").decode(bytes.slice(0, 1024));
  if (!head.includes("%PDF-")) throw new Unusable(`${name} is no PDF inside.`);
  return new Blob([bytes], { type: "application/pdf" });
}

async function text(file, name) {
  const bytes = await bytesOf(file, name, MOST_TEXT);
  let read;
  try {
    read = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Unusable(`${name} is not text. Pictures, PDFs and text files can be attached.`);
  }
  if (read.includes("\0")) throw new Unusable(`${name} is not text. Pictures, PDFs and text files can be attached.`);
  return new Blob([read], { type: "text/plain" });
}

/** A text file as the model is told it, in a fence that its own fences do not end. */
export function asText(name, content) {
  const longest = Math.max(2, ...(content.match(/`{3,}/g) ?? []).map((ticks) => ticks.length));
  const fence = "`".repeat(longest + 1);
  return `${name}:\n${fence}\n${content}\n${fence}`;
}

/** @param {Blob} blob @returns {Promise<string>} */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** @param {number} bytes */
export function sizeOf(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 1024 * 1024) return `${Math.round(bytes / 1024)} KB`;
  return `${(bytes / 1024 / 1024).toFixed(1)} MB`;
}
