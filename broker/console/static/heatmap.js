// One cell for each thing, drawn on a canvas: a hundred thousand are one string of letters.
export default {
  template: `<canvas class="jb-heat" role="img" :aria-label="label" :title="hint" @click="pick" @mousemove="point"></canvas>`,
  props: { label: String },
  data: () => ({ hint: "", letters: "", statuses: {}, cell: 8, columns: 1 }),
  mounted() {
    this.watching = new ResizeObserver(() => this.paint());
    this.watching.observe(this.$el);
    this.theme = new MutationObserver(() => this.paint());
    this.theme.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  },
  unmounted() {
    this.watching.disconnect();
    this.theme.disconnect();
  },
  methods: {
    draw(letters, statuses) {
      this.letters = letters;
      this.statuses = statuses;
      this.paint();
    },
    paint() {
      const width = this.$el.clientWidth;
      if (!width) return;
      const count = Math.max(this.letters.length, 1);
      this.cell = Math.max(3, Math.min(16, Math.floor(Math.sqrt((width * 320) / count))));
      this.columns = Math.max(1, Math.floor(width / this.cell));
      const height = Math.ceil(count / this.columns) * this.cell;
      const scale = window.devicePixelRatio || 1;
      if (this.$el.width !== Math.round(width * scale)) this.$el.width = Math.round(width * scale);
      if (this.$el.height !== Math.round(height * scale)) this.$el.height = Math.round(height * scale);
      this.$el.style.height = `${height}px`;
      const context = this.$el.getContext("2d");
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, width, height);
      const style = getComputedStyle(document.body);
      const gap = this.cell > 4 ? 1 : 0;
      for (const [letter, status] of Object.entries(this.statuses)) {
        context.fillStyle = style.getPropertyValue(`--st-${status}`).trim() || "gray";
        for (let at = this.letters.indexOf(letter); at >= 0; at = this.letters.indexOf(letter, at + 1)) {
          const x = (at % this.columns) * this.cell;
          const y = Math.floor(at / this.columns) * this.cell;
          context.fillRect(x, y, this.cell - gap, this.cell - gap);
        }
      }
    },
    index(event) {
      const column = Math.floor(event.offsetX / this.cell);
      const at = Math.floor(event.offsetY / this.cell) * this.columns + column;
      return column < this.columns && at < this.letters.length ? at : -1;
    },
    point(event) {
      const at = this.index(event);
      this.hint = at < 0 ? "" : `${at + 1}: ${(this.statuses[this.letters[at]] || "").replace("_", " ").toLowerCase()}`;
      this.$el.style.cursor = at < 0 ? "default" : "pointer";
    },
    pick(event) {
      const at = this.index(event);
      if (at >= 0) this.$emit("pick", at);
    },
  },
};
