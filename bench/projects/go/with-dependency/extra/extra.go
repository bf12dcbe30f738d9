// Package extra is a dependency of its own.
package extra
