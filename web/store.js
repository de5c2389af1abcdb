// Conversations and attachments in IndexedDB; in memory where the browser forbids it.

const NAME = "skill-agent";
const TABLES = ["conversations", "attachments"];

/** Keeps things by their id. `lasting` is false where they go with the page. */
export class Store {
  constructor(database) {
    this.database = database;
    this.lasting = Boolean(database);
    this.memory = Object.fromEntries(TABLES.map((table) => [table, new Map()]));
  }

  /** @returns {Promise<Store>} */
  static async open() {
    try {
      return new Store(await opened());
    } catch {
      return new Store(null);
    }
  }

  async all(table) {
    if (!this.database) return [...this.memory[table].values()];
    return this.#run(table, "readonly", (rows) => rows.getAll());
  }

  async keys(table) {
    if (!this.database) return [...this.memory[table].keys()];
    return this.#run(table, "readonly", (rows) => rows.getAllKeys());
  }

  async get(table, id) {
    if (!this.database || this.memory[table].has(id)) return this.memory[table].get(id);
    return this.#run(table, "readonly", (rows) => rows.get(id));
  }

  /** Rejects where the disk is full; the row is then kept for as long as the page stays. */
  async put(table, row) {
    if (!this.database) return void this.memory[table].set(row.id, structuredClone(row));
    try {
      await this.#run(table, "readwrite", (rows) => rows.put(row));
      this.memory[table].delete(row.id);
    } catch (error) {
      this.memory[table].set(row.id, row);
      throw error;
    }
  }

  async remove(table, ids) {
    if (!this.database) return ids.forEach((id) => this.memory[table].delete(id));
    await this.#run(table, "readwrite", (rows) => ids.map((id) => rows.delete(id)).at(-1));
  }

  #run(table, mode, act) {
    return new Promise((resolve, reject) => {
      const transaction = this.database.transaction(table, mode);
      const asked = act(transaction.objectStore(table));
      transaction.oncomplete = () => resolve(asked?.result);
      transaction.onabort = transaction.onerror = () => reject(transaction.error ?? new Error("not stored"));
    });
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open(NAME, 1);
    asked.onupgradeneeded = () => TABLES.forEach((table) => asked.result.createObjectStore(table, { keyPath: "id" }));
    asked.onsuccess = () => {
      // Another tab with a newer page wants to change the tables: it is not to wait for this one.
      asked.result.onversionchange = () => asked.result.close();
      resolve(asked.result);
    };
    asked.onerror = () => reject(asked.error);
  });
}

/** A choice of this browser's, kept across visits. */
export function preference(name) {
  try {
    return JSON.parse(localStorage.getItem(name));
  } catch {
    return null;
  }
}

export function prefer(name, value) {
  try {
    if (value === null || value === undefined || value === "") localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // Storage is forbidden: the choice goes with the page.
  }
}
