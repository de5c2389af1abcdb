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
 * @param {number} room bytes that all files of a message may take in a request; `weight` is what this one takes
 * @returns {Promise<{attachment: import("./conversation.js").Attachment, blob: Blob, weight: number}>}
 * @throws {Unusable}
 */
export async function take(file, name, room) {
  if (file.type.startsWith("image/") && file.type !== "image/svg+xml") return told(name, "image", await picture(file, name, room), room);
  if (file.type === "application/pdf" || /\.pdf$/i.test(name)) return told(name, "pdf", await pdf(file, name, room), room);
  return told(name, "text", await text(file, name, room), room);
}

async function told(name, kind, blob, room) {
  const weight = kind === "text" ? bytesIn(await blob.text()) : Math.ceil(blob.size / 3) * 4;
  if (weight > room) throw new Unusable(`${name} is too large for the service, which takes ${sizeOf(filesIn(room))} with a message.`);
  return { attachment: { id: newId(), name, type: blob.type, size: blob.size, kind }, blob, weight };
}

/** Bytes of files that fit: in a request they are in base64. */
export function filesIn(room) {
  return Math.floor((room * 3) / 4);
}

/** Bytes that something takes in a request. */
export function bytesIn(thing) {
  return new Blob([JSON.stringify(thing)]).size;
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

async function picture(file, name, room) {
  const blob = new Blob([await bytesOf(file, name, MOST_BYTES)], { type: file.type });
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    throw new Unusable(`${name} cannot be shown: it is damaged, or a kind of picture that this browser does not know.`);
  }
  const scale = Math.min(1, EDGE / Math.max(bitmap.width, bitmap.height));
  const most = Math.min(AS_IT_IS, filesIn(room) / 2);
  if (scale === 1 && blob.size <= most && SENT_AS_IT_IS.includes(blob.type)) return blob;
  return smaller(bitmap, scale, blob.type, name, most);
}

async function smaller(bitmap, scale, type, name, most) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  const draw = () => context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  draw();
  if (type === "image/png") {
    const png = await encoded(canvas, "image/png");
    if (png && png.size <= most) return png;
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

async function pdf(file, name, room) {
  const bytes = await bytesOf(file, name, Math.min(MOST_PDF, filesIn(room)));
  const head = new TextDecoder("latin1").decode(bytes.slice(0, 1024));
  if (!head.includes("%PDF-")) throw new Unusable(`${name} is no PDF inside.`);
  return new Blob([bytes], { type: "application/pdf" });
}

async function text(file, name, room) {
  const bytes = await bytesOf(file, name, Math.min(MOST_TEXT, room));
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
