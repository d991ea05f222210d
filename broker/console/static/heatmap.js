// One cell for each thing, drawn on a canvas: a hundred thousand are one string of letters, and what changes is a part of it.
export default {
  template: `<canvas class="jb-heat" role="img" :aria-label="label" :title="hint"
    @click="pick" @mousemove="point" @mouseleave="leave"></canvas>`,
  props: { label: String },
  data: () => ({ hint: "" }),
  created() {
    Object.assign(this, { letters: "", statuses: {}, total: 0, cell: 8, columns: 1, at: -1, resting: 0 });
  },
  mounted() {
    this.watching = new ResizeObserver(() => this.paint());
    this.watching.observe(this.$el);
    this.theme = new MutationObserver(() => this.paint());
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  },
  unmounted() {
    this.watching.disconnect();
    this.theme.disconnect();
    clearTimeout(this.resting);
  },
  methods: {
    draw(letters, statuses, total) {
      this.letters = letters;
      this.statuses = statuses;
      this.total = total;
      this.paint();
    },
    patch(start, letters) {
      this.letters = this.letters.slice(0, start) + letters + this.letters.slice(start + letters.length);
      if (this.letters.length > this.total) this.paint();
      else this.fill(start, start + letters.length);
    },
    name(at, name) {
      if (at === this.at) this.hint = `${name}: ${this.word(at)}`;
    },
    paint() {
      const width = this.$el.clientWidth;
      if (!width) return;
      this.total = Math.max(this.letters.length, this.total);
      const count = Math.max(this.total, 1);
      this.cell = Math.max(3, Math.min(16, Math.floor(Math.sqrt((width * 320) / count))));
      this.columns = Math.max(1, Math.floor(width / this.cell));
      const height = Math.ceil(count / this.columns) * this.cell;
      const scale = window.devicePixelRatio || 1;
      this.$el.width = Math.round(width * scale);
      this.$el.height = Math.round(height * scale);
      this.$el.style.height = `${height}px`;
      this.$el.getContext("2d").setTransform(scale, 0, 0, scale, 0, 0);
      const style = getComputedStyle(document.body);
      const colour = (name) => style.getPropertyValue(name).trim() || "gray";
      this.colours = { "": colour("--jb-line") };
      for (const [letter, status] of Object.entries(this.statuses)) this.colours[letter] = colour(`--st-${status}`);
      this.fill(0, count);
    },
    // Cells of one colour one after another: changing the colour is what takes long.
    fill(from, to) {
      const context = this.$el.getContext("2d");
      const side = this.cell - (this.cell > 4 ? 1 : 0);
      const until = Math.min(to, this.letters.length);
      const cells = {};
      for (let at = from; at < until; at++) (cells[this.letters[at]] ||= []).push(at);
      for (let at = until; at < Math.min(to, this.total); at++) (cells[""] ||= []).push(at);
      for (const [letter, places] of Object.entries(cells)) {
        context.fillStyle = this.colours?.[letter] || "gray";
        for (const at of places) {
          context.fillRect((at % this.columns) * this.cell, Math.floor(at / this.columns) * this.cell, side, side);
        }
      }
    },
    index(event) {
      const column = Math.floor(event.offsetX / this.cell);
      const at = Math.floor(event.offsetY / this.cell) * this.columns + column;
      return column < this.columns && at < this.letters.length ? at : -1;
    },
    word(at) {
      return (this.statuses[this.letters[at]] || "").replace("_", " ").toLowerCase();
    },
    // Names are asked for when somebody rests on a cell: a hundred thousand are too many to have at hand.
    point(event) {
      const at = this.index(event);
      if (at === this.at) return;
      this.leave();
      this.at = at;
      this.$el.style.cursor = at < 0 ? "default" : "pointer";
      if (at < 0) return;
      this.hint = this.word(at);
      this.resting = setTimeout(() => this.$emit("rest", at), 150);
    },
    leave() {
      clearTimeout(this.resting);
      this.at = -1;
      this.hint = "";
    },
    pick(event) {
      const at = this.index(event);
      if (at >= 0) this.$emit("pick", at);
    },
  },
};
