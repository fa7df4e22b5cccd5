// How a clip was captioned, as the stage told it.

function detailsOf(clip) {
  return [];
}
