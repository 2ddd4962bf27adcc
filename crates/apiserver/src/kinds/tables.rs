//! The built-in kinds, one a line:
//! `plural singular Kind scope(N|C) flags shortNames categories subresources`.
//!
//! Flags: `s` status subresource, `g` generation, `c` create on update, `u` needs a resourceVersion to update,
//! `d` graceful deletion, `n` no deletecollection, `v` virtual (create only), `e` new event form. `-` is none.
//! Subresources beyond status: `name:Kind:verbs[:group/version]`, verbs by first letter (c, d, g, p, u).

/// One API group and version and its kinds.
pub(crate) struct Table {
    pub group: &'static str,
    pub version: &'static str,
    pub lines: &'static str,
}

/// All of them.
pub(crate) const TABLES: &[Table] = &[
    Table { group: "", version: "v1", lines: "
configmaps configmap ConfigMap N - cm - -
endpoints endpoints Endpoints N c ep - -
events event Event N c ev - -
limitranges limitrange LimitRange N c limits - -
namespaces namespace Namespace C sn ns - finalize:Namespace:u
nodes node Node C s no - proxy:NodeProxyOptions:cdgpu
persistentvolumeclaims persistentvolumeclaim PersistentVolumeClaim N s pvc - -
persistentvolumes persistentvolume PersistentVolume C s pv - -
pods pod Pod N sgd po all attach:PodAttachOptions:cg,binding:Binding:c,ephemeralcontainers:Pod:gpu,eviction:Eviction:c:policy/v1,exec:PodExecOptions:cg,log:Pod:g,portforward:PodPortForwardOptions:cg,proxy:PodProxyOptions:cdgpu,resize:Pod:gpu
resourcequotas resourcequota ResourceQuota N sc quota - -
secrets secret Secret N - - - -
serviceaccounts serviceaccount ServiceAccount N - sa - token:TokenRequest:c:authentication.k8s.io/v1
services service Service N sc svc all proxy:ServiceProxyOptions:cdgpu
" },
    Table { group: "admissionregistration.k8s.io", version: "v1", lines: "
mutatingadmissionpolicies mutatingadmissionpolicy MutatingAdmissionPolicy C g - api-extensions -
mutatingadmissionpolicybindings mutatingadmissionpolicybinding MutatingAdmissionPolicyBinding C g - api-extensions -
mutatingwebhookconfigurations mutatingwebhookconfiguration MutatingWebhookConfiguration C g - api-extensions -
validatingadmissionpolicies validatingadmissionpolicy ValidatingAdmissionPolicy C sg - api-extensions -
validatingadmissionpolicybindings validatingadmissionpolicybinding ValidatingAdmissionPolicyBinding C g - - -
validatingwebhookconfigurations validatingwebhookconfiguration ValidatingWebhookConfiguration C g - api-extensions -
" },
    Table { group: "apiextensions.k8s.io", version: "v1", lines: "
customresourcedefinitions customresourcedefinition CustomResourceDefinition C sg crd,crds api-extensions -
" },
    Table { group: "apiregistration.k8s.io", version: "v1", lines: "
apiservices apiservice APIService C s - api-extensions -
" },
    Table { group: "apps", version: "v1", lines: "
controllerrevisions controllerrevision ControllerRevision N - - - -
daemonsets daemonset DaemonSet N sg ds all -
deployments deployment Deployment N sg deploy all scale:Scale:gpu:autoscaling/v1
replicasets replicaset ReplicaSet N sg rs all scale:Scale:gpu:autoscaling/v1
statefulsets statefulset StatefulSet N sg sts all scale:Scale:gpu:autoscaling/v1
" },
    Table { group: "authentication.k8s.io", version: "v1", lines: "
selfsubjectreviews selfsubjectreview SelfSubjectReview C v - - -
tokenreviews tokenreview TokenReview C v - - -
" },
    Table { group: "authorization.k8s.io", version: "v1", lines: "
localsubjectaccessreviews localsubjectaccessreview LocalSubjectAccessReview N v - - -
selfsubjectaccessreviews selfsubjectaccessreview SelfSubjectAccessReview C v - - -
selfsubjectrulesreviews selfsubjectrulesreview SelfSubjectRulesReview C v - - -
subjectaccessreviews subjectaccessreview SubjectAccessReview C v - - -
" },
    Table { group: "batch", version: "v1", lines: "
cronjobs cronjob CronJob N sg cj all -
jobs job Job N sg - all -
" },
    Table { group: "coordination.k8s.io", version: "v1", lines: "
leases lease Lease N c - - -
" },
    Table { group: "discovery.k8s.io", version: "v1", lines: "
endpointslices endpointslice EndpointSlice N g - - -
" },
    Table { group: "events.k8s.io", version: "v1", lines: "
events event Event N ce ev - -
" },
    Table { group: "flowcontrol.apiserver.k8s.io", version: "v1", lines: "
flowschemas flowschema FlowSchema C sg - - -
prioritylevelconfigurations prioritylevelconfiguration PriorityLevelConfiguration C sg - - -
" },
    Table { group: "networking.k8s.io", version: "v1", lines: "
ingressclasses ingressclass IngressClass C g - - -
ingresses ingress Ingress N sg ing - -
networkpolicies networkpolicy NetworkPolicy N g netpol - -
" },
    Table { group: "policy", version: "v1", lines: "
poddisruptionbudgets poddisruptionbudget PodDisruptionBudget N sg pdb - -
" },
    Table { group: "rbac.authorization.k8s.io", version: "v1", lines: "
clusterrolebindings clusterrolebinding ClusterRoleBinding C c - - -
clusterroles clusterrole ClusterRole C c - - -
rolebindings rolebinding RoleBinding N c - - -
roles role Role N c - - -
" },
    Table { group: "scheduling.k8s.io", version: "v1", lines: "
priorityclasses priorityclass PriorityClass C g pc - -
" },
    Table { group: "storage.k8s.io", version: "v1", lines: "
csidrivers csidriver CSIDriver C - - - -
csinodes csinode CSINode C - - - -
csistoragecapacities csistoragecapacity CSIStorageCapacity N - - - -
storageclasses storageclass StorageClass C - sc - -
volumeattachments volumeattachment VolumeAttachment C s - - -
" },
];
