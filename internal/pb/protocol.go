package pb

import "fmt"

// Protocol is the version of messages and frames that this program speaks; it changes when a node of another release could
// not work with this one. Node and coordinator compare it whenever a node joins and whenever it attends.
const Protocol = 1

// Compare returns an error that says what to do unless a node and a coordinator, of these releases, speak the same protocol.
func Compare(node string, nodes uint32, coordinator string, coordinators uint32) error {
	if nodes == coordinators {
		return nil
	}
	return fmt.Errorf("this node (release %s) speaks protocol %d, the coordinator (release %s) %d: install the same release on all machines",
		named(node), nodes, named(coordinator), coordinators)
}

// named is a release for people; one from before releases were told has no name.
func named(release string) string {
	if release == "" {
		return "unknown"
	}
	return release
}
