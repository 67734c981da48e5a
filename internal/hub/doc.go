// Package hub brings models and data from elsewhere onto this machine, before a run begins.
//
//	hf://org/name[@revision]                       a model of a Hugging Face hub        ─┐
//	hf://datasets/org/name[@revision]/path         files of a dataset, * and its like   ─┼─→ Client ─→ paths on this machine
//	https://host/path, http://…                    one file                             ─┘
//	org/name, .../models--org--name                a model that lies in the hub's cache already
//
// What comes from a hub is kept in the layout of the Hugging Face cache (blobs by hash, snapshots of links, refs), where the
// Python libraries find it and from where what they fetched is taken. Other files are kept by their URL, with what the
// server said of their age.
//
// A download that was cut off goes on where it ended. Nothing appears under its name before all of it is there and, where
// its hash is known, has been checked: for files of a hub always, for others if the spec gives it. The token is sent to the
// hub and to nobody else.
//
// The package decides no result: a run knows its files by hash, wherever they came from.
//
// Start reading at client.go; name.go says what a name means.
package hub
