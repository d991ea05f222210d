// Events as lines, the newest first: a line is a row of words, so that what is told of a busy fleet costs little.
export default {
  template: `<div class="jb-log" role="log" :aria-label="label" tabindex="0">
    <p v-if="!rows.length" class="jb-quiet">{{ nothing }}</p>
    <div v-for="row in rows" :key="row.key" class="jb-log-line">
      <time :title="row.utc">{{ row.at }}</time>
      <span :class="'jb-status st-' + row.status">{{ row.what }}</span>
      <span>{{ row.said }}</span>
    </div></div>`,
  props: { label: String, most: Number, nothing: String },
  data: () => ({ rows: [] }),
  // Drawn, also when its tab is opened once more: what there is so far is asked for.
  mounted() {
    this.$emit("begin");
  },
  activated() {
    this.$emit("begin");
  },
  methods: {
    show(rows) {
      this.rows = rows;
    },
    add(rows) {
      this.rows = [...rows, ...this.rows].slice(0, this.most);
    },
  },
};
