"""Files that people attach to messages: uploaded in chunks, checked, kept in an object store as long as a message names them."""
